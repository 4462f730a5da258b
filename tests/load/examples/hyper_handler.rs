//! A hyper handler that answers every request with the body of `GET /v1/health`, to compare a broker with:
//! `cargo run --release -p load --example hyper_handler`. It prints its address; as many threads as a broker has.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const BODY: &str = r#"{"status":"ok","version":"0.1.0","uptime":3600,"db_connected":true,"audit_events_count":100000}"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let respond = service_fn(|_| async {
            let mut response = Response::new(Full::new(Bytes::from_static(BODY.as_bytes())));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), respond));
    }
}
