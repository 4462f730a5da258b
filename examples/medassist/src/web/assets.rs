//! The page, its script and its style, all within the program.

use axum::{Router, response::IntoResponse, routing::get};
use http::header::CONTENT_TYPE;

const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", include_str!("assets/index.html")),
    ("/medassist.css", "text/css; charset=utf-8", include_str!("assets/medassist.css")),
    ("/medassist.js", "text/javascript; charset=utf-8", include_str!("assets/medassist.js")),
    ("/audit-chain.js", "text/javascript; charset=utf-8", include_str!("assets/audit-chain.js")),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

pub(super) fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |routes, (path, kind, contents)| {
        routes.route(path, get(move || async move { ([(CONTENT_TYPE, kind)], contents).into_response() }))
    })
}
