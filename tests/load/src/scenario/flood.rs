//! Good requests, alone and then beside a flood of bad ones from other addresses: wrong logins, forged tokens, junk,
//! queries with thousands of parameters, and request bodies that stall after a byte.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use agentwrit_protocol::Hex;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use super::{Context, LoadError};
use crate::{
    agent::{Client, Launch, random, registration},
    args::Flood,
    drive::{Limits, drive},
    hostile,
    http::{Connection, Request},
    report::{Report, milliseconds},
    tally::Tally,
    target::Target,
};

pub(crate) async fn run(context: &Context, options: &Flood) -> Result<Report, LoadError> {
    let (clients, tokens) = context.enrol(context.clients(options.clients), u64::from(options.clients)).await?;
    let genuine = tokens.first().cloned().unwrap_or_default();
    let agents: Vec<_> = clients.into_iter().zip(tokens).collect();
    let (agents, idle) = good(agents, options).await;

    let stop = Arc::new(AtomicBool::new(false));
    let flood = {
        let (target, options, stop) = (context.target.clone(), options.clone(), Arc::clone(&stop));
        thread::spawn(move || flood(&target, &options, &genuine, &stop))
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, flooded) = good(agents, options).await;
    stop.store(true, Ordering::Relaxed);
    let bad = flood.join().map_err(|_| LoadError::Runtime { cause: "the flood's thread panicked".to_owned() })??;

    let mut report = context.report("flood");
    report.add(&idle, options.clients, ", idle");
    report.add(&flooded, options.clients, ", flooded");
    report.add(&bad, options.connections, "");
    for (operation, times) in idle.operations() {
        let p99 = flooded.find(operation).map_or(0.0, |times| milliseconds(times.quantile(990)));
        report.figure(format!("{operation}: p99 flooded / idle"), p99 / milliseconds(times.quantile(990)), "");
    }
    Ok(report)
}

type Holder = (Client, String);

/// Usual requests of agents, at their rate.
async fn good(agents: Vec<Holder>, options: &Flood) -> (Vec<Holder>, Tally) {
    let pause = Duration::from_millis(options.pause);
    let limits = Limits { time: Duration::from_secs(options.time), count: u64::MAX };
    drive(agents, limits, async move |(client, token): &mut Holder, tally| {
        client.register(Launch { max_ttl: 300, task_id: "task" }, tally).await?;
        tally.time("validate", client.validate(token)).await?;
        *token = tally.time("renew", client.renew(token)).await?;
        tally.time("health", client.health()).await?;
        tokio::time::sleep(pause).await;
        Ok(())
    })
    .await
}

/// Runs on a thread of its own, so that it does not delay the good requests within this tool.
fn flood(target: &Target, options: &Flood, genuine: &str, stop: &AtomicBool) -> Result<Tally, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| LoadError::Runtime { cause: cause.to_string() })?;
    let connections = (0..options.connections).map(|index| {
        let connection = Connection::new(target).from(source(target, index, options));
        attack(connection, genuine, usize::from(index), options, stop)
    });
    let stalls = (0..options.stalled).map(|index| stall(target, source(target, index, options), stop));
    let started = Instant::now();
    let (mut tallies, stalled) = runtime.block_on(futures_util::future::join(
        futures_util::future::join_all(connections),
        futures_util::future::join_all(stalls),
    ));
    tallies.extend(stalled);
    let mut total = Tally::default();
    for tally in &tallies {
        total.merge(tally);
    }
    total.took = started.elapsed();
    Ok(total)
}

/// Returns the loopback address of a connection of the flood.
fn source(target: &Target, index: u16, options: &Flood) -> Option<IpAddr> {
    let loopback = target.address.is_ipv4() && target.address.ip().is_loopback();
    loopback.then(|| hostile::address(index % options.addresses))
}

/// Repeatedly sends one byte of a chunked body, and waits until the broker closes.
async fn stall(target: &Target, from: Option<IpAddr>, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let request = hostile::stalled_body(&target.host);
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        match hostile::connect(target.address, from).await {
            Ok(mut stream) => {
                hostile::send_and_leave(&mut stream, request.as_bytes()).await;
                let mut buffer = [0; 256];
                let mut looks = tokio::time::interval(Duration::from_millis(100));
                // Until the flood ends or the broker closes.
                while !stop.load(Ordering::Relaxed) {
                    looks.tick().await;
                    match stream.try_read(&mut buffer) {
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Ok(_) | Err(_) => break,
                    }
                }
                tally.record("stalled body", started.elapsed());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    tally
}

async fn attack(mut connection: Connection, genuine: &str, start: usize, options: &Flood, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut ticks = (options.rate > 0).then(|| {
        let period = Duration::from_secs(u64::from(options.connections)).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "at most a million")]
        tokio::time::interval(Duration::from_secs_f64(period / options.rate as f64))
    });
    for kind in start.. {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match strike(&mut connection, kind, genuine, &mut tally).await {
            Ok(()) => {}
            Err(failure) => tally.fail(&failure),
        }
    }
    tally
}

/// Sends one bad request. Every response but a success or a server error is correct.
async fn strike(connection: &mut Connection, kind: usize, genuine: &str, tally: &mut Tally) -> Result<(), LoadError> {
    let junk = HEXLOWER.encode(&random::<32>()?);
    if let Some(parameters) = match kind % 8 {
        // As many as a request head holds, and far more.
        6 => Some(3_800),
        7 => Some(15_500),
        _ => None,
    } {
        return ask(connection, parameters, tally).await;
    }
    let (name, path, token, body) = match kind % 8 {
        0 => ("bad admin login", "/v1/admin/auth", None, format!(r#"{{"secret":"{junk}"}}"#)),
        1 => {
            let body = format!(r#"{{"client_id":"a-{junk}","client_secret":"{junk}"}}"#);
            ("bad app login", "/v1/app/auth", None, body)
        }
        2 => ("forged token", "/v1/token/renew", Some(forged(genuine)?), String::new()),
        3 => ("junk token", "/v1/delegate", Some(junk), "{}".to_owned()),
        4 => ("forged token, validate", "/v1/token/validate", None, format!(r#"{{"token":"{}"}}"#, forged(genuine)?)),
        _ => ("bad registration", "/v1/register", None, registration(&junk.as_str().into(), Hex(random()?), "task")?),
    };
    let request = Request { method: "POST", path, token: token.as_deref(), body: Some(&body) };
    let started = Instant::now();
    let response = connection.send(request).await?;
    let refused = matches!(response.status, 400..500) || (kind % 8 == 4 && response.status == 200);
    if !refused {
        return Err(LoadError::unexpected(path, &response));
    }
    tally.record(if response.status == 429 { "turned away (429)" } else { name }, started.elapsed());
    Ok(())
}

/// Sends a query with this many parameters. It is rejected, or its head is too long and the connection closes.
async fn ask(connection: &mut Connection, parameters: u32, tally: &mut Tally) -> Result<(), LoadError> {
    let path = hostile::query(parameters);
    let started = Instant::now();
    match connection.send(Request { method: "GET", path: &path, ..Request::default() }).await {
        Ok(response) if !matches!(response.status, 400..500) => {
            return Err(LoadError::unexpected("/v1/revocations?…", &response));
        }
        Ok(_) | Err(LoadError::Broken { .. }) => {}
        Err(failure) => return Err(failure),
    }
    let name = if parameters > 10_000 { "query of 15,500 parameters" } else { "query of 3,800 parameters" };
    tally.record(name, started.elapsed());
    Ok(())
}

/// Returns the token with another signature.
fn forged(genuine: &str) -> Result<String, LoadError> {
    let signed = genuine.rsplit_once('.').map_or("", |(signed, _)| signed);
    let mut signature: [u8; 64] = random()?;
    // Below the group's order, so that the whole signature check runs.
    if let Some(last) = signature.last_mut() {
        *last &= 0x0f;
    }
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_token_differs_in_signature_only() {
        let forgery = forged("e30.e30.c2ln").unwrap();
        let (signed, signature) = forgery.rsplit_once('.').unwrap();
        assert_eq!((signed, signature.len()), ("e30.e30", 86));
        assert_ne!(forgery, forged("e30.e30.c2ln").unwrap());
    }
}
