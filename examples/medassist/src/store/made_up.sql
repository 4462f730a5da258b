-- Nobody here is or was a person.
INSERT INTO patients VALUES
    ('P-1042', 'Ada Fernsby', '1958-03-11', 'cardiology'),
    ('P-2077', 'Bruno Quill', '1991-07-29', 'surgery'),
    ('P-3155', 'Celia Marsh', '2016-12-02', 'paediatrics');

INSERT INTO records VALUES
    ('P-1042', '2019-05-06', 'diagnosis', 'essential hypertension'),
    ('P-1042', '2021-02-18', 'diagnosis', 'type 2 diabetes'),
    ('P-1042', '2009-10-01', 'allergy', 'penicillin'),
    ('P-2077', '2026-11-19', 'diagnosis', 'acute appendicitis'),
    ('P-3155', '2026-11-20', 'diagnosis', 'bronchiolitis'),
    ('P-3155', '2016-12-02', 'history', 'born at 34 weeks');

INSERT INTO notes (patient_id, written_at, author, text) VALUES
    ('P-1042', '2026-11-20T09:15:00Z', 'Dr Imre Vale', 'Short of breath on stairs since a week. Ankles swollen.'),
    ('P-2077', '2026-11-19T22:40:00Z', 'Dr Nora Reyes', 'Rebound tenderness. For theatre tonight.');

INSERT INTO labs VALUES
    ('P-1042', '2026-11-20', 'NT-proBNP', 1840.0, 'pg/mL', '< 125'),
    ('P-1042', '2026-11-20', 'potassium', 4.4, 'mmol/L', '3.5 - 5.1'),
    ('P-1042', '2026-11-20', 'HbA1c', 7.9, '%', '< 6.5'),
    ('P-2077', '2026-11-19', 'leukocytes', 16.2, '10^9/L', '4.0 - 10.0');

INSERT INTO formulary VALUES
    ('amoxicillin', 'capsule', 1000, 0, 'penicillin'),
    ('furosemide', 'tablet', 80, 0, NULL),
    ('metformin', 'tablet', 1000, 0, NULL),
    ('morphine', 'tablet', 30, 1, NULL),
    ('ramipril', 'capsule', 10, 0, NULL);

INSERT INTO prescriptions
    (patient_id, drug, dose_mg, times_per_day, days, prescribed_at, prescribed_by, on_behalf_of, token_id) VALUES
    ('P-1042', 'metformin', 500, 2, 90, '2026-09-01T08:00:00Z', 'Dr Imre Vale', NULL, ''),
    ('P-2077', 'morphine', 10, 4, 2, '2026-11-20T01:30:00Z', 'Dr Nora Reyes', NULL, '');

INSERT INTO invoices VALUES
    ('I-88101', 'P-1042', '2026-11-20', 'echocardiography', 21450, 'open'),
    ('I-87002', 'P-1042', '2026-09-01', 'consultation', 8000, 'paid'),
    ('I-88096', 'P-2077', '2026-11-19', 'appendectomy', 412000, 'open');
