//! A few unauthenticated requests do not hurt other clients.

mod feed_followers;
mod hanging_log_reader;
mod session_budgets;
