//! An authority that was ended stays ended.

mod one_broker_per_database;
