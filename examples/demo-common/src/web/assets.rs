//! Files of a page, within the program.

use axum::{Router, response::IntoResponse, routing::get};
use http::header::CONTENT_TYPE;

/// Media type of scripts.
pub const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Media type of style sheets.
pub const STYLE: &str = "text/css; charset=utf-8";

/// Files that the pages of both demos use.
const SHARED: [Asset; 5] = [
    Asset { path: "/dom.js", media_type: SCRIPT, contents: include_str!("../../assets/dom.js") },
    Asset { path: "/markdown.js", media_type: SCRIPT, contents: include_str!("../../assets/markdown.js") },
    Asset { path: "/operator.js", media_type: SCRIPT, contents: include_str!("../../assets/operator.js") },
    Asset { path: "/audit-chain.js", media_type: SCRIPT, contents: include_str!("../../assets/audit-chain.js") },
    Asset { path: "/operator.css", media_type: STYLE, contents: include_str!("../../assets/operator.css") },
];

/// File of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "each demo lists its own")]
pub struct Asset {
    /// Path.
    pub path: &'static str,
    /// Media type.
    pub media_type: &'static str,
    /// Contents.
    pub contents: &'static str,
}

/// Builds the routes of a demo's files and of those that both demos use.
pub fn asset_routes(assets: &[Asset]) -> Router {
    assets.iter().chain(&SHARED).fold(Router::new(), |routes, Asset { path, media_type, contents }| {
        let (media_type, contents) = (*media_type, *contents);
        routes.route(path, get(move || async move { ([(CONTENT_TYPE, media_type)], contents).into_response() }))
    })
}
