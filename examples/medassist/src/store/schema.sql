PRAGMA foreign_keys = ON;

CREATE TABLE patients (
    id   TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    born TEXT NOT NULL,
    ward TEXT NOT NULL
) STRICT;

CREATE TABLE contacts (
    patient_id         TEXT PRIMARY KEY REFERENCES patients (id),
    address            TEXT NOT NULL,
    phone              TEXT NOT NULL,
    emergency_name     TEXT NOT NULL,
    emergency_relation TEXT NOT NULL,
    emergency_phone    TEXT NOT NULL
) STRICT;

CREATE TABLE records (
    patient_id  TEXT NOT NULL REFERENCES patients (id),
    recorded_on TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('diagnosis', 'allergy', 'history')),
    text        TEXT NOT NULL,
    icd10       TEXT
) STRICT;

CREATE TABLE visits (
    patient_id TEXT NOT NULL REFERENCES patients (id),
    visited_on TEXT NOT NULL,
    provider   TEXT NOT NULL,
    complaint  TEXT NOT NULL,
    pulse      INTEGER NOT NULL,
    systolic   INTEGER NOT NULL,
    diastolic  INTEGER NOT NULL,
    celsius    REAL NOT NULL
) STRICT;

CREATE TABLE notes (
    id         INTEGER PRIMARY KEY,
    patient_id TEXT NOT NULL REFERENCES patients (id),
    written_at TEXT NOT NULL,
    author     TEXT NOT NULL,
    text       TEXT NOT NULL
) STRICT;

CREATE TABLE labs (
    patient_id TEXT NOT NULL REFERENCES patients (id),
    taken_on   TEXT NOT NULL,
    test       TEXT NOT NULL,
    value      REAL NOT NULL,
    unit       TEXT NOT NULL,
    reference  TEXT NOT NULL,
    flag       TEXT NOT NULL CHECK (flag IN ('low', 'normal', 'high'))
) STRICT;

CREATE TABLE formulary (
    drug        TEXT PRIMARY KEY,
    form        TEXT NOT NULL,
    max_dose_mg INTEGER NOT NULL,
    controlled  INTEGER NOT NULL CHECK (controlled IN (0, 1)),
    allergen    TEXT,
    class       TEXT NOT NULL,
    contraindication TEXT,
    tier        INTEGER NOT NULL CHECK (tier BETWEEN 1 AND 3),
    prior_authorization INTEGER NOT NULL CHECK (prior_authorization IN (0, 1))
) STRICT;

CREATE TABLE prescriptions (
    id            INTEGER PRIMARY KEY,
    patient_id    TEXT NOT NULL REFERENCES patients (id),
    drug          TEXT NOT NULL REFERENCES formulary (drug),
    dose_mg       INTEGER NOT NULL,
    times_per_day INTEGER NOT NULL,
    days          INTEGER NOT NULL,
    refills       INTEGER NOT NULL DEFAULT 0,
    prescribed_at TEXT NOT NULL,
    prescribed_by TEXT NOT NULL,
    on_behalf_of  TEXT,
    token_id      TEXT NOT NULL
) STRICT;

-- Pairs in alphabetical order.
CREATE TABLE interactions (
    drug     TEXT NOT NULL REFERENCES formulary (drug),
    other    TEXT NOT NULL REFERENCES formulary (drug),
    severity TEXT NOT NULL CHECK (severity IN ('minor', 'moderate', 'severe')),
    effect   TEXT NOT NULL,
    PRIMARY KEY (drug, other),
    CHECK (drug < other)
) STRICT;

CREATE TABLE invoices (
    id           TEXT PRIMARY KEY,
    patient_id   TEXT NOT NULL REFERENCES patients (id),
    issued_on    TEXT NOT NULL,
    item         TEXT NOT NULL,
    amount_cents INTEGER NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('open', 'paid'))
) STRICT;

CREATE TABLE insurance (
    patient_id            TEXT PRIMARY KEY REFERENCES patients (id),
    insurer               TEXT NOT NULL,
    plan                  TEXT NOT NULL,
    member_number         TEXT NOT NULL,
    group_number          TEXT NOT NULL,
    copay_percent         INTEGER NOT NULL CHECK (copay_percent BETWEEN 0 AND 100),
    deductible_left_cents INTEGER NOT NULL
) STRICT;

-- The hospital's own codes.
CREATE TABLE billing_codes (
    code TEXT PRIMARY KEY,
    item TEXT NOT NULL
) STRICT;

-- An invoice is claimed once.
CREATE TABLE claims (
    id            INTEGER PRIMARY KEY,
    patient_id    TEXT NOT NULL REFERENCES patients (id),
    invoice_id    TEXT NOT NULL UNIQUE REFERENCES invoices (id),
    code          TEXT NOT NULL REFERENCES billing_codes (code),
    insurer_cents INTEGER NOT NULL,
    patient_cents INTEGER NOT NULL,
    filed_at      TEXT NOT NULL,
    filed_by      TEXT NOT NULL,
    token_id      TEXT NOT NULL
) STRICT;
