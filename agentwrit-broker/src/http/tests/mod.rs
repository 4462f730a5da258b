mod bodies;
mod openapi;
