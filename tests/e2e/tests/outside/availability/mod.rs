//! A few unauthenticated requests do not hurt other clients.

mod hanging_log_reader;
mod feed_followers;
mod session_budgets;
