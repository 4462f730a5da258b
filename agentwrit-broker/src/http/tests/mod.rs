mod bodies;
mod openapi;
mod recheck;
mod reports;
