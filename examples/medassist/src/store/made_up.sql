-- Nobody here is or was a person.
INSERT INTO patients VALUES
    ('P-1042', 'Ada Fernsby', '1958-03-11', 'cardiology'),
    ('P-2077', 'Bruno Quill', '1991-07-29', 'surgery'),
    ('P-3155', 'Celia Marsh', '2016-12-02', 'paediatrics'),
    ('P-4210', 'Dov Lindqvist', '1949-06-17', 'rheumatology');

INSERT INTO contacts VALUES
    ('P-1042', '4 Lantern Row, Brackwater', '+44 20 7946 0142', 'Edwin Fernsby', 'husband', '+44 20 7946 0143'),
    ('P-2077', '17 Mill Stairs, Brackwater', '+44 20 7946 0277', 'Odile Quill', 'sister', '+44 20 7946 0278'),
    ('P-3155', '9 Heron Close, Saltby', '+44 20 7946 0355', 'Mira Marsh', 'mother', '+44 20 7946 0356'),
    ('P-4210', '2 Quay House, Saltby', '+44 20 7946 0421', 'Hanne Lindqvist', 'daughter', '+44 20 7946 0422');

INSERT INTO visits VALUES
    ('P-1042', '2026-11-20', 'Dr Imre Vale', 'short of breath on stairs', 96, 158, 92, 36.7),
    ('P-1042', '2026-09-01', 'Dr Imre Vale', 'yearly check of the diabetes', 78, 149, 88, 36.5),
    ('P-2077', '2026-11-19', 'Dr Nora Reyes', 'pain in the right lower abdomen', 104, 126, 78, 38.4),
    ('P-3155', '2026-11-20', 'Dr Tove Aalto', 'coughs and feeds badly', 142, 98, 60, 38.1),
    ('P-4210', '2026-11-18', 'Dr Salome Berg', 'the toe hurts', 82, 141, 80, 37.2);

INSERT INTO records VALUES
    ('P-1042', '2019-05-06', 'diagnosis', 'essential hypertension', 'I10'),
    ('P-1042', '2021-02-18', 'diagnosis', 'type 2 diabetes', 'E11.9'),
    ('P-1042', '2009-10-01', 'allergy', 'penicillin', 'Z88.0'),
    ('P-2077', '2026-11-19', 'diagnosis', 'acute appendicitis', 'K35.80'),
    ('P-3155', '2026-11-20', 'diagnosis', 'bronchiolitis', 'J21.9'),
    ('P-3155', '2016-12-02', 'history', 'born at 34 weeks', NULL),
    ('P-4210', '2018-01-30', 'diagnosis', 'atrial fibrillation', 'I48.91'),
    ('P-4210', '2026-11-18', 'diagnosis', 'gout, right big toe', 'M10.071');

INSERT INTO notes (patient_id, written_at, author, text) VALUES
    ('P-1042', '2026-11-20T09:15:00Z', 'Dr Imre Vale', 'Short of breath on stairs since a week. Ankles swollen.'),
    ('P-2077', '2026-11-19T22:40:00Z', 'Dr Nora Reyes', 'Rebound tenderness. For theatre tonight.'),
    ('P-4210', '2026-11-18T10:05:00Z', 'Dr Salome Berg', 'Joint red and hot. Asks for something against the pain.');

INSERT INTO labs VALUES
    ('P-1042', '2026-11-20', 'NT-proBNP', 1840.0, 'pg/mL', '< 125', 'high'),
    ('P-1042', '2026-11-20', 'potassium', 4.4, 'mmol/L', '3.5 - 5.1', 'normal'),
    ('P-1042', '2026-11-20', 'HbA1c', 7.9, '%', '< 6.5', 'high'),
    ('P-2077', '2026-11-19', 'leukocytes', 16.2, '10^9/L', '4.0 - 10.0', 'high'),
    ('P-4210', '2026-11-18', 'INR', 2.6, '', '2.0 - 3.0', 'normal'),
    ('P-4210', '2026-11-18', 'urate', 561.0, 'umol/L', '200 - 430', 'high');

INSERT INTO formulary VALUES
    ('amoxicillin', 'capsule', 1000, 0, 'penicillin', 'penicillin', NULL, 1, 0),
    ('apixaban', 'tablet', 5, 0, NULL, 'factor Xa inhibitor', 'active bleeding', 3, 1),
    ('furosemide', 'tablet', 80, 0, NULL, 'loop diuretic', 'anuria', 1, 0),
    ('ibuprofen', 'tablet', 600, 0, NULL, 'NSAID', 'active gastric ulcer', 1, 0),
    ('metformin', 'tablet', 1000, 0, NULL, 'biguanide', 'severe renal impairment', 1, 0),
    ('morphine', 'tablet', 30, 1, NULL, 'opioid', 'respiratory depression', 2, 0),
    ('paracetamol', 'tablet', 1000, 0, NULL, 'analgesic', 'severe liver disease', 1, 0),
    ('ramipril', 'capsule', 10, 0, NULL, 'ACE inhibitor', 'pregnancy', 1, 0),
    ('spironolactone', 'tablet', 50, 0, NULL, 'potassium-sparing diuretic', 'hyperkalaemia', 2, 0),
    ('warfarin', 'tablet', 10, 0, NULL, 'vitamin K antagonist', 'active bleeding', 1, 0);

INSERT INTO interactions VALUES
    ('apixaban', 'warfarin', 'severe', 'risk of bleeding'),
    ('amoxicillin', 'warfarin', 'moderate', 'may raise the INR'),
    ('furosemide', 'ibuprofen', 'moderate', 'weakens the diuretic and strains the kidneys'),
    ('furosemide', 'metformin', 'minor', 'may raise the blood glucose'),
    ('ibuprofen', 'ramipril', 'moderate', 'weakens the blood pressure drug and strains the kidneys'),
    ('ibuprofen', 'warfarin', 'severe', 'risk of bleeding'),
    ('metformin', 'ramipril', 'moderate', 'may lower the blood glucose'),
    ('paracetamol', 'warfarin', 'minor', 'may raise the INR with daily use'),
    ('ramipril', 'spironolactone', 'moderate', 'may raise the potassium');


INSERT INTO prescriptions
    (patient_id, drug, dose_mg, times_per_day, days, refills, prescribed_at, prescribed_by, on_behalf_of, token_id) VALUES
    ('P-1042', 'metformin', 500, 2, 90, 3, '2026-09-01T08:00:00Z', 'Dr Imre Vale', NULL, ''),
    ('P-2077', 'morphine', 10, 4, 2, 0, '2026-11-20T01:30:00Z', 'Dr Nora Reyes', NULL, ''),
    ('P-4210', 'warfarin', 5, 1, 90, 2, '2026-10-02T11:20:00Z', 'Dr Salome Berg', NULL, '');

INSERT INTO invoices VALUES
    ('I-88101', 'P-1042', '2026-11-20', 'echocardiography', 21450, 'open'),
    ('I-87002', 'P-1042', '2026-09-01', 'consultation', 8000, 'paid'),
    ('I-88096', 'P-2077', '2026-11-19', 'appendectomy', 412000, 'open'),
    ('I-88080', 'P-4210', '2026-11-18', 'consultation', 8000, 'open');

INSERT INTO insurance VALUES
    ('P-1042', 'Harbour Mutual', 'complete', 'HM-5520-117', 'G-410', 10, 5000),
    ('P-2077', 'Northlight Health', 'basic', 'NL-0031-842', 'G-022', 20, 30000),
    ('P-3155', 'Harbour Mutual', 'child', 'HM-5990-301', 'G-410', 0, 0),
    ('P-4210', 'Northlight Health', 'senior', 'NL-0007-415', 'G-007', 15, 0);

INSERT INTO billing_codes VALUES
    ('C-10', 'consultation'),
    ('H-21', 'echocardiography'),
    ('S-47', 'appendectomy');
