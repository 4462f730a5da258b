//! The page, its script and its style, all within the program.

use demo_common::web::{Asset, SCRIPT, STYLE};

pub(super) const ASSETS: [Asset; 4] = [
    Asset { path: "/", media_type: "text/html; charset=utf-8", contents: include_str!("assets/index.html") },
    Asset { path: "/medassist.css", media_type: STYLE, contents: include_str!("assets/medassist.css") },
    Asset { path: "/medassist.js", media_type: SCRIPT, contents: include_str!("assets/medassist.js") },
    Asset { path: "/icon.svg", media_type: "image/svg+xml", contents: include_str!("assets/icon.svg") },
];
