//! A few unauthenticated requests do not hurt other clients.

mod feed_followers;
mod hanging_log_reader;
mod health_check;
mod request_heads;
mod session_budgets;
mod stalled_bodies;
mod unread_responses;
