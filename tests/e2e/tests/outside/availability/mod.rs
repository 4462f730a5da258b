//! A few unauthenticated requests do not hurt other clients.

mod session_budgets;
mod hanging_log_reader;
