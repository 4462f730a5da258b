//! A few unauthenticated requests do not hurt other clients.

mod early_responses;
mod feed_followers;
mod hanging_log_reader;
mod health_check;
mod hostile_json_bodies;
mod query_parameters;
mod request_heads;
mod session_budgets;
mod shutdown;
mod stalled_bodies;
mod unread_responses;
