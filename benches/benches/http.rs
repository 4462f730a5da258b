//! A protected route beside the same route unprotected, and beside peers, over loopback HTTP:
//! `cargo bench -p agentwrit-bench --bench http`, with words of the groups that are wanted behind `--`.
//!
//! The route `nothing` has a layer that does nothing: what axum spends on any.
//!
//! One axum server on one thread; one client thread with sixteen keep-alive connections, which writes sixteen requests
//! and reads sixteen responses. It never sleeps, so that the server wakes nobody, as with clients of other machines.
//! In each round every route receives the same tokens, in another order; a ratio is the median of the ratios within the
//! rounds.
//!
//! Bound tokens: each request has a new proof. The bound of what is possible is a route that verifies the signature of
//! the proof with one dalek `verify`, and checks nothing else.

use std::io;
use std::io::Write as _;
use std::sync::Arc;

use agentwrit_bench::bound::{BoundCorpus, verifies};
use agentwrit_bench::corpus::{AUDIENCE, Corpus, ISSUER, shuffled};
use agentwrit_bench::is_wanted;
use agentwrit_bench::loopback::{BODY, CONNECTIONS, Client, Failure, Server, Turn};
use agentwrit_bench::nothing::Nothing;
use agentwrit_bench::peers;
use agentwrit_bench::report::{Bound, Target, verdicts};
use agentwrit_tower::RequireScope;
use agentwrit_verify::Verifier;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use ed25519_dalek::VerifyingKey;
use oauth_resource_server::axum::AuthLayer;
use tower_layer::layer_fn;

const ROUNDS: usize = 15;
/// Requests of one route in one round.
const TURN: usize = 4_000;
/// Requests of one route in one round with new tokens.
const FRESH: usize = 800;
/// Tokens that are valid at the same time.
const LIVE: usize = 10_000;
const CACHE_MEMORY: u64 = 64 * 1024 * 1024;
const ROUTES: [&str; 5] = ["open", "nothing", "agentwrit", "oauth-resource-server", "jwt-authorizer"];
const PROOF_ROUTES: [&str; 4] = ["open", "nothing", "agentwrit-proofs", "one-dalek-verify"];
const HOT: &str = "one token, seen before";
const MANY: &str = "10,000 live tokens, seen before, in no order";
const NEW: &str = "tokens never seen before";
const BOUND: &str = "a bound token, each request with a new proof";

/// Scope of every token; the peers check no scope here.
const SCOPE: &str = "read:labresults:*";

fn main() -> Result<(), Failure> {
    let corpus = Corpus::new((LIVE + ROUNDS * FRESH) as u64).map_err(|error| error.to_string())?;
    let bound = BoundCorpus::new(SCOPE, "/agentwrit-proofs", FRESH * ROUNDS).map_err(|error| error.to_string())?;
    let mut client = Client::connect(Server::start(routes(&corpus, &bound)?)?)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{ROUNDS} interleaved rounds, {CONNECTIONS} connections; requests per second and microseconds of the server's \
         processor for each, medians; ratios within rounds"
    )?;

    let bearer = |pick: usize| format!("authorization: Bearer {}\r\n", corpus.token(pick).text);
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
            client.ask(route, &(0..LIVE).collect::<Vec<_>>(), &bearer)?;
        }
    }
    let mut targets = Vec::new();
    for (title, picks, of_turns) in [
        (HOT, &repeated as &dyn Fn(usize) -> Vec<usize>, hot_targets as fn(&[Vec<Turn>]) -> Vec<Target>),
        (MANY, &live, live_targets),
        (NEW, &fresh, fresh_targets),
    ] {
        if is_wanted(title) {
            let turns = client.measure(&ROUTES, ROUNDS, picks, &bearer)?;
            report(&mut out, title, &ROUTES, &turns)?;
            targets.extend(of_turns(&turns));
        }
    }
    if is_wanted(BOUND) {
        let proofs = |round: usize| (round * FRESH..(round + 1) * FRESH).collect::<Vec<_>>();
        let turns = client.measure(&PROOF_ROUTES, ROUNDS, &proofs, &|pick| bound.headers(pick))?;
        report(&mut out, BOUND, &PROOF_ROUTES, &turns)?;
        targets.extend(proof_targets(&turns));
    }
    verdicts(&mut out, &targets)?;
    Ok(())
}

fn hot_targets(turns: &[Vec<Turn>]) -> Vec<Target> {
    of_open("one token, in terms of the open route", turns, 0.95)
}

fn live_targets(turns: &[Vec<Turn>]) -> Vec<Target> {
    of_open("10,000 tokens, in terms of the open route", turns, 0.85)
}

fn of_open(name: &'static str, turns: &[Vec<Turn>], least: f64) -> Vec<Target> {
    let [open, _, own, ..] = turns else { return Vec::new() };
    vec![Target { name, measured: ratio(own, open, rate), bound: Bound::AtLeast(least) }]
}

fn fresh_targets(turns: &[Vec<Turn>]) -> Vec<Target> {
    let [_, _, own, peers @ ..] = turns else { return Vec::new() };
    let measured = peers.iter().map(|peer| ratio(own, peer, rate)).fold(f64::INFINITY, f64::min);
    vec![Target { name: "new tokens, times the best peer", measured, bound: Bound::AtLeast(2.0) }]
}

fn proof_targets(turns: &[Vec<Turn>]) -> Vec<Target> {
    let [open, _, own, bound] = turns else { return Vec::new() };
    let target = |name, measured, least| Target { name, measured, bound: Bound::AtLeast(least) };
    vec![
        target("a route with proofs, in terms of the open one", ratio(own, open, rate), 0.30),
        target("the same, in terms of one dalek `verify` per request", ratio(own, bound, rate), 0.80),
    ]
}

fn report(out: &mut impl io::Write, title: &str, routes: &[&str], turns: &[Vec<Turn>]) -> io::Result<()> {
    let heads = ("per second", "/ open", "agentwrit / it", "processor, us", "it / agentwrit");
    writeln!(out, "\n{title:<44} {:>10} {:>8} {:>15} {:>14} {:>15}", heads.0, heads.1, heads.2, heads.3, heads.4)?;
    let [open, _, agentwrit, ..] = turns else { return Ok(()) };
    for (name, own) in routes.iter().zip(turns) {
        let (per_second, microseconds) = (median(own.iter().map(rate)), 1e6 * median(own.iter().map(processor)));
        let (of_open, of_us) = (ratio(own, open, rate), ratio(agentwrit, own, rate));
        let cost = ratio(own, agentwrit, processor);
        writeln!(
            out,
            "  {name:<42} {per_second:>10.0} {of_open:>8.3} {of_us:>15.3} {microseconds:>14.2} {cost:>15.3}"
        )?;
    }
    Ok(())
}

fn rate(turn: &Turn) -> f64 {
    turn.rate
}

fn processor(turn: &Turn) -> f64 {
    turn.processor
}

/// Returns the median of the ratios within the rounds.
fn ratio(one: &[Turn], other: &[Turn], of: fn(&Turn) -> f64) -> f64 {
    median(one.iter().zip(other).map(|(one, other)| of(one) / of(other)))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn routes(corpus: &Corpus, bound: &BoundCorpus) -> Result<Router, Failure> {
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
    let proofs = bound.layer(SCOPE).map_err(|error| error.to_string())?;
    let route = || get(|| async { BODY });
    Ok(Router::new()
        .route("/open", route())
        .route("/nothing", route().layer(layer_fn(Nothing)))
        .route("/agentwrit", route().layer(own))
        .route("/agentwrit-proofs", route().layer(proofs))
        .route("/one-dalek-verify", route().layer(from_fn_with_state(Arc::new(bound.key()), verify_signature)))
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

/// Verifies the signature of the proof and nothing else.
async fn verify_signature(State(key): State<Arc<VerifyingKey>>, request: Request, next: Next) -> Response {
    let proof = request.headers().get("dpop").and_then(|proof| proof.to_str().ok());
    if proof.is_some_and(|proof| verifies(&key, proof)) {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}
