//! First steps of operators, developers and auditors.
