//! Concurrent clients, until a count or a time is reached.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{args::Bounds, scenario::LoadError, tally::Tally};

/// Number of consecutive failures after which a client stops.
const FAILURES_IN_A_ROW: u32 = 20;

/// Limits of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) count: u64,
}

impl From<Bounds> for Limits {
    fn from(bounds: Bounds) -> Self {
        Self { time: Duration::from_secs(bounds.time), count: bounds.count }
    }
}

/// Runs the steps of every client; returns the clients and the results of their requests.
pub(crate) async fn drive<C: 'static, S>(clients: Vec<C>, limits: Limits, step: S) -> (Vec<C>, Tally)
where
    S: AsyncFn(&mut C, &mut Tally) -> Result<(), LoadError> + 'static,
{
    let (step, left) = (Rc::new(step), Rc::new(Cell::new(limits.count)));
    let started = Instant::now();
    let deadline = started + limits.time;
    let running: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let (step, left) = (Rc::clone(&step), Rc::clone(&left));
            tokio::task::spawn_local(async move {
                let mut tally = Tally::default();
                let mut failures = 0;
                while failures < FAILURES_IN_A_ROW && Instant::now() < deadline && take(&left) {
                    match step(&mut client, &mut tally).await {
                        Ok(()) => failures = 0,
                        Err(failure) => {
                            failures += 1;
                            tally.fail(&failure);
                        }
                    }
                }
                (client, tally)
            })
        })
        .collect();
    let (mut clients, mut total) = (Vec::new(), Tally::default());
    for client in running {
        if let Ok((client, tally)) = client.await {
            clients.push(client);
            total.merge(&tally);
        }
    }
    total.took = started.elapsed();
    (clients, total)
}

/// Takes one of the remaining operations.
fn take(left: &Cell<u64>) -> bool {
    match left.get().checked_sub(1) {
        Some(rest) => {
            left.set(rest);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_this_thread<T>(running: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, running)
    }

    #[test]
    fn clients_share_exact_count() {
        let limits = Limits { time: Duration::from_secs(60), count: 1001 };
        let (clients, tally) = on_this_thread(drive(vec![0_u64; 8], limits, async |client, tally| {
            tokio::task::yield_now().await;
            *client += 1;
            tally.record("step", Duration::from_nanos(1));
            Ok(())
        }));
        assert_eq!((clients.len(), clients.iter().sum::<u64>()), (8, 1001));
        assert_eq!(tally.find("step").unwrap().count(), 1001);
    }

    #[test]
    fn run_ends_after_its_time() {
        let limits = Limits { time: Duration::from_millis(50), count: u64::MAX };
        let (_, tally) = on_this_thread(drive(vec![(); 2], limits, async |(), _| {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        }));
        assert!(tally.took >= Duration::from_millis(50) && tally.took < Duration::from_secs(10), "{:?}", tally.took);
    }

    #[test]
    fn client_stops_after_repeated_failures() {
        let limits = Limits { time: Duration::from_secs(60), count: u64::MAX };
        let (_, tally) = on_this_thread(drive(vec![(); 3], limits, async |(), _| Err(LoadError::Invalid)));
        assert_eq!(tally.failed, 3 * u64::from(FAILURES_IN_A_ROW));
    }
}
