//! Large responses: sent in chunks, with a place in the pool of large responses for as long as that takes.

use std::net::IpAddr;

use axum::{
    body::{Body, HttpBody},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;

use super::errors::HttpError;
use crate::{
    limits::{
        document::{Document, DocumentBody, SMALL},
        fair_share::FairPool,
    },
    service::Error,
};

/// Marks a response whose body is a [`Document`] already.
#[derive(Clone, Copy, Debug)]
struct Accounted;

/// A document as a response.
pub(super) fn respond(document: &Document) -> Response {
    let mut response = Response::new(Body::new(DocumentBody::from(document.clone())));
    response.extensions_mut().insert(Accounted);
    response
}

/// The same response, accounted for in `pool` if it is large; 503 when there is no place for it.
pub(super) async fn account(response: Response, pool: &FairPool, client: IpAddr) -> Response {
    let small = response.body().size_hint().exact().is_some_and(|length| length <= SMALL as u64);
    if small || response.extensions().get::<Accounted>().is_some() {
        return response;
    }
    let (head, body) = response.into_parts();
    let content = match body.collect().await {
        Ok(content) => content.to_bytes(),
        Err(error) => return HttpError::Defect { cause: format!("a response has no body: {error}") }.into_response(),
    };
    match Document::new(content, pool, client) {
        Some(document) => Response::from_parts(head, Body::new(DocumentBody::from(document))),
        None => HttpError::from(Error::Overloaded).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::body::to_bytes;
    use http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderValue},
    };

    use super::*;
    use crate::limits::fair_share::Favour;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn response(length: usize) -> Response {
        ([(CONTENT_TYPE, "text/plain")], vec![b'x'; length]).into_response()
    }

    #[tokio::test]
    async fn large_response_is_accounted_for_until_it_has_been_sent() {
        let pool = FairPool::new(4 * SMALL, 4 * SMALL, Favour::Established);
        let accounted = account(response(4 * SMALL), &pool, CLIENT).await;
        assert_eq!(accounted.headers().get(CONTENT_TYPE), Some(&HeaderValue::from_static("text/plain")));
        assert_eq!(accounted.body().size_hint().exact(), Some(4 * SMALL as u64));

        let refused = account(response(2 * SMALL), &pool, CLIENT).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(account(response(SMALL), &pool, CLIENT).await.status(), StatusCode::OK, "small ones need no place");

        assert_eq!(to_bytes(accounted.into_body(), usize::MAX).await.unwrap(), vec![b'x'; 4 * SMALL]);
        assert_eq!(account(response(2 * SMALL), &pool, CLIENT).await.status(), StatusCode::OK);
    }
}
