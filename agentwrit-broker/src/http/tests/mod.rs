mod bodies;
mod openapi;
mod reports;
