//! Good requests, alone and then beside a flood of bad ones from other addresses.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use super::{Context, Failure};
use crate::{
    agent::{Client, Launch, random, registration},
    args::Flood,
    drive::{Limits, drive},
    http::{Connection, Request},
    report::{Report, milliseconds},
    tally::Tally,
    target::Target,
};

pub(crate) async fn run(context: &Context, options: &Flood) -> Result<Report, Failure> {
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
    let bad = flood.join().map_err(|_| Failure::Runtime { cause: "the flood's thread panicked".to_owned() })??;

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

/// What agents do all day, at their pace.
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

/// On a thread of its own, so that it doesn't delay the good requests within this tool.
fn flood(target: &Target, options: &Flood, genuine: &str, stop: &AtomicBool) -> Result<Tally, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::Runtime { cause: cause.to_string() })?;
    let connections = (0..options.connections).map(|index| {
        let from = target.address.is_ipv4().then(|| address(index % options.addresses));
        let connection = Connection::new(target).from(from.filter(|_| target.address.ip().is_loopback()));
        attack(connection, genuine, usize::from(index), options, stop)
    });
    let started = Instant::now();
    let tallies = runtime.block_on(futures_util::future::join_all(connections));
    let mut total = Tally::default();
    for tally in &tallies {
        total.merge(tally);
    }
    total.took = started.elapsed();
    Ok(total)
}

/// 127.0.0.2 and on.
fn address(index: u16) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0002 + u32::from(index)))
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

/// One bad request. Any answer but a success or a failure of the broker's is the right one.
async fn strike(connection: &mut Connection, kind: usize, genuine: &str, tally: &mut Tally) -> Result<(), Failure> {
    let junk = HEXLOWER.encode(&random::<32>()?);
    let (name, path, token, body) = match kind % 6 {
        0 => ("bad admin login", "/v1/admin/auth", None, format!(r#"{{"secret":"{junk}"}}"#)),
        1 => {
            let body = format!(r#"{{"client_id":"a-{junk}","client_secret":"{junk}"}}"#);
            ("bad app login", "/v1/app/auth", None, body)
        }
        2 => ("forged token", "/v1/token/renew", Some(forged(genuine)?), String::new()),
        3 => ("junk token", "/v1/delegate", Some(junk), "{}".to_owned()),
        4 => ("forged token, validate", "/v1/token/validate", None, format!(r#"{{"token":"{}"}}"#, forged(genuine)?)),
        _ => ("bad registration", "/v1/register", None, registration(&junk, &junk, "task")?),
    };
    let request = Request { method: "POST", path, token: token.as_deref(), body: Some(&body) };
    let started = Instant::now();
    let response = connection.send(request).await?;
    let refused = matches!(response.status, 400..500) || (kind % 6 == 4 && response.status == 200);
    if !refused {
        return Err(Failure::unexpected(path, &response));
    }
    tally.record(if response.status == 429 { "turned away (429)" } else { name }, started.elapsed());
    Ok(())
}

/// A token in every respect but its signature.
fn forged(genuine: &str) -> Result<String, Failure> {
    let signed = genuine.rsplit_once('.').map_or("", |(signed, _)| signed);
    let mut signature: [u8; 64] = random()?;
    // Below the group's order, so that the whole check has to be made.
    if let Some(last) = signature.last_mut() {
        *last &= 0x0f;
    }
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_come_from_loopback_addresses_of_their_own() {
        assert_eq!(address(0).to_string(), "127.0.0.2");
        assert_eq!(address(300).to_string(), "127.0.1.46");
        assert!(address(16_383).is_loopback());
    }

    #[test]
    fn a_forgery_differs_in_its_signature_only() {
        let forgery = forged("e30.e30.c2ln").unwrap();
        let (signed, signature) = forgery.rsplit_once('.').unwrap();
        assert_eq!((signed, signature.len()), ("e30.e30", 86));
        assert_ne!(forgery, forged("e30.e30.c2ln").unwrap());
    }
}
