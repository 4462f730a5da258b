//! A protected route beside the same route unprotected, and beside peers, over loopback HTTP:
//! `cargo bench -p agentwrit-bench --bench http`.
//!
//! One axum server on one thread; one client thread with sixteen keep-alive connections, which writes sixteen requests
//! and reads sixteen responses. In each round every route receives the same tokens, in another order; a ratio is the
//! median of the ratios within the rounds.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use agentwrit_bench::corpus::{AUDIENCE, Corpus, ISSUER, shuffled};
use agentwrit_bench::peers;
use agentwrit_bench::rounds::as_float;
use agentwrit_tower::RequireScope;
use agentwrit_verify::Verifier;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use oauth_resource_server::axum::AuthLayer;
use tokio::net::TcpListener;

const ROUNDS: usize = 15;
const CONNECTIONS: usize = 16;
/// Requests of one route in one round.
const TURN: usize = 4_000;
/// Requests of one route in one round with new tokens.
const FRESH: usize = 800;
/// Tokens that are valid at the same time.
const LIVE: usize = 10_000;
const CACHE_MEMORY: u64 = 64 * 1024 * 1024;
const ROUTES: [&str; 4] = ["open", "agentwrit", "oauth-resource-server", "jwt-authorizer"];

/// Scope of every token; the peers check no scope here.
const SCOPE: &str = "read:labresults:*";

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let corpus = Corpus::new((LIVE + ROUNDS * FRESH) as u64).map_err(|error| error.to_string())?;
    let address = serve(&corpus)?;
    let mut client = Client::connect(address)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{ROUNDS} interleaved rounds, {CONNECTIONS} connections; requests per second, medians; ratios within rounds"
    )?;

    let repeated = |_: usize| vec![0_usize; TURN];
    let live = |round: usize| {
        let mut picks = shuffled(LIVE);
        picks.rotate_left(round * TURN % LIVE);
        picks.truncate(TURN);
        picks
    };
    let fresh = |round: usize| (LIVE + round * FRESH..LIVE + (round + 1) * FRESH).collect::<Vec<_>>();
    // Every cache holds every valid token.
    for _ in 0..3 {
        for route in ROUTES {
            client.ask(&corpus, route, &(0..LIVE).collect::<Vec<_>>())?;
        }
    }
    for (title, picks) in [
        ("one token, seen before", &repeated as &dyn Fn(usize) -> Vec<usize>),
        ("10,000 live tokens, seen before, in no order", &live),
        ("tokens never seen before", &fresh),
    ] {
        let rates = measure(&mut client, &corpus, picks)?;
        report(&mut out, title, &rates)?;
    }
    Ok(())
}

/// Returns the requests per second of each route in each round.
fn measure(
    client: &mut Client,
    corpus: &Corpus,
    picks: &dyn Fn(usize) -> Vec<usize>,
) -> Result<Vec<Vec<f64>>, Failure> {
    let mut rates = vec![Vec::new(); ROUTES.len()];
    for round in 0..ROUNDS {
        let picks = picks(round);
        for turn in 0..ROUTES.len() {
            let route = (turn + round) % ROUTES.len();
            let (Some(name), Some(rates)) = (ROUTES.get(route), rates.get_mut(route)) else { continue };
            let started = Instant::now();
            client.ask(corpus, name, &picks)?;
            rates.push(as_float(picks.len()) / started.elapsed().as_secs_f64());
        }
    }
    Ok(rates)
}

fn report(out: &mut impl io::Write, title: &str, rates: &[Vec<f64>]) -> io::Result<()> {
    writeln!(out, "\n{title:<48} per second   / open   agentwrit / it")?;
    let [open, agentwrit, ..] = rates else { return Ok(()) };
    for (name, own) in ROUTES.iter().zip(rates) {
        let rate = median(own.clone());
        let (of_open, of_us) = (ratio(own, open), ratio(agentwrit, own));
        writeln!(out, "  {name:<46} {rate:>10.0} {of_open:>8.3} {of_us:>16.3}")?;
    }
    Ok(())
}

fn ratio(one: &[f64], other: &[f64]) -> f64 {
    median(one.iter().zip(other).map(|(one, other)| one / other).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Starts the server on a thread of its own.
fn serve(corpus: &Corpus) -> Result<SocketAddr, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let routes = routes(corpus)?;
    std::thread::spawn(move || runtime.block_on(async move { axum::serve(listener, routes).await }));
    Ok(address)
}

fn routes(corpus: &Corpus) -> Result<Router, Failure> {
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .keys(corpus.key_set().clone())
        .without_revocations()
        .audience(AUDIENCE)
        .cache_memory(CACHE_MEMORY)
        .build();
    let own = RequireScope::new(SCOPE).verifier(verifier);
    let oauth = peers::oauth_resource_server_for(corpus).map_err(|error| error.to_string())?;
    let oauth = AuthLayer::builder().oauth(Arc::new(oauth)).build()?;
    let jwt = peers::jwt_authorizer_for(corpus).map_err(|error| error.to_string())?;
    let route = || get(|| async { "record 7\n" });
    Ok(Router::new()
        .route("/open", route())
        .route("/agentwrit", route().layer(own))
        .route("/oauth-resource-server", route().layer(oauth))
        .route("/jwt-authorizer", route().layer(from_fn_with_state(Arc::new(jwt), authorize))))
}

/// Equivalent of jwt-authorizer's own layer, which is for axum 0.7.
async fn authorize(
    State(authorizer): State<Arc<jwt_authorizer::Authorizer<peers::PeerClaims>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(token) = authorizer.extract_token(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    match authorizer.check_auth(&token).await {
        Ok(claims) => {
            request.extensions_mut().insert(claims);
            next.run(request).await
        }
        Err(_) => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response(),
    }
}

/// Client with little cost beside the server.
struct Client {
    connections: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        Ok(Self { connections: (0..CONNECTIONS).map(connect).collect::<io::Result<_>>()?, buffer: vec![0; 4096] })
    }

    /// Sends one request for each of the tokens; every response must be 200.
    fn ask(&mut self, corpus: &Corpus, route: &str, picks: &[usize]) -> Result<(), Failure> {
        for several in picks.chunks(CONNECTIONS) {
            for (stream, pick) in self.connections.iter_mut().zip(several) {
                let token = &corpus.token(*pick).text;
                let request = format!("GET /{route} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n");
                stream.write_all(request.as_bytes())?;
            }
            for (stream, _) in self.connections.iter_mut().zip(several) {
                answered(stream, &mut self.buffer, route)?;
            }
        }
        Ok(())
    }
}

/// Reads one response: all of them are short and have the same end.
fn answered(stream: &mut TcpStream, buffer: &mut [u8], route: &str) -> Result<(), Failure> {
    let mut length = 0;
    loop {
        let read = stream.read(buffer.get_mut(length..).unwrap_or_default())?;
        length += read;
        let response = buffer.get(..length).unwrap_or_default();
        if read == 0 || (response.len() > 12 && !response.starts_with(b"HTTP/1.1 200")) {
            return Err(format!("{route}: {}", String::from_utf8_lossy(response)).into());
        }
        if response.ends_with(b"record 7\n") {
            return Ok(());
        }
    }
}
