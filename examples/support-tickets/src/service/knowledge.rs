//! `/knowledge?q=`: articles.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;

use super::Service;
use crate::store::Article;

#[derive(Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    q: String,
}

pub(super) async fn search(State(service): State<Service>, Query(search): Query<Search>) -> Json<Vec<Article>> {
    Json(service.store.articles(&search.q))
}
