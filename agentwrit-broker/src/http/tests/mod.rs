mod bodies;
mod confirmations;
mod openapi;
mod recheck;
mod reports;
