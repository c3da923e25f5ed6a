//! micro_tokio: the cases that tokio has.
//!
//! One worker is the current_thread runtime, more are the multi_thread one; a case's body is a spawned task, since the
//! task of block_on() is woken the dear way. spawn_join, spawn_join_1000 and tree run on NEXUS_WORKERS workers (without
//! it: 1, 1, and all CPUs), the others on one, those between threads on two runtimes of one thread each.
#[path = "../harness.rs"]
mod harness;

use harness::{must, Case, Run};
use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::yield_now;

const ROOM: usize = 1024;

fn workers(usual: usize) -> usize {
    let wanted = std::env::var("NEXUS_WORKERS").ok().and_then(|text| text.parse().ok());
    wanted.filter(|n| *n > 0).unwrap_or(usual)
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

fn runtime(workers: usize) -> Runtime {
    let built = match workers {
        1 => Builder::new_current_thread().enable_all().build(),
        n => Builder::new_multi_thread().worker_threads(n).enable_all().build(),
    };
    built.expect("a runtime")
}

/// Runs the body as a task of a runtime with so many workers.
fn on<F>(workers: usize, body: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    runtime(workers).block_on(async { tokio::spawn(body).await.unwrap() })
}

/// What is measured is the time between start and end, without making the runtime.
async fn timed(future: impl Future<Output = usize>) -> Run {
    let (cpu, start) = (harness::process_cpu(), Instant::now());
    let ops = future.await;
    Run { ops, took: start.elapsed(), cpu: harness::process_cpu() - cpu, counters: vec![] }
}

// ---- spawn ----

#[inline(never)]
async fn successor(n: usize) -> usize {
    n + 1
}

fn spawn_join(wanted: usize) -> Run {
    on(workers(1), async move {
        timed(async {
            for i in 0..wanted {
                must(tokio::spawn(successor(i)).await.unwrap() == i + 1, "every task has returned its successor");
            }
            wanted
        })
        .await
    })
}

fn spawn_join_1000(wanted: usize) -> Run {
    on(workers(1), async move {
        timed(async {
            let mut ops = 0;
            let mut tasks = Vec::with_capacity(1000);
            while ops < wanted {
                tasks.extend((0..1000).map(|i| tokio::spawn(successor(i))));
                for (i, task) in tasks.drain(..).enumerate() {
                    must(task.await.unwrap() == i + 1, "every task has returned its successor");
                }
                ops += 1000;
            }
            ops
        })
        .await
    })
}

fn node(height: usize) -> Pin<Box<dyn Future<Output = usize> + Send>> {
    Box::pin(async move {
        if height == 1 {
            let leaves: [_; 10] = std::array::from_fn(|_| tokio::spawn(async { 1 }));
            let mut count = 1;
            for leaf in leaves {
                count += leaf.await.unwrap();
            }
            return count;
        }
        let children: [_; 10] = std::array::from_fn(|_| tokio::spawn(node(height - 1)));
        let mut count = 1;
        for child in children {
            count += child.await.unwrap();
        }
        count
    })
}

fn tree(wanted: usize) -> Run {
    const SIZE: usize = 1_111_111;
    on(workers(cpus()), async move {
        timed(async {
            let mut ops = 0;
            while ops < wanted {
                must(node(6).await == SIZE, "every task of the tree has been counted");
                ops += SIZE;
            }
            ops
        })
        .await
    })
}

// ---- switch ----

fn yield_ring(wanted: usize, tasks: usize) -> Run {
    let each = wanted / tasks + 1;
    on(1, async move {
        timed(async {
            let task = || {
                tokio::spawn(async move {
                    for _ in 0..each {
                        yield_now().await;
                    }
                })
            };
            let all: Vec<_> = (0..tasks).map(|_| task()).collect();
            for one in all {
                one.await.unwrap();
            }
            each * tasks
        })
        .await
    })
}

// ---- channels ----

fn chan_same_task(wanted: usize) -> Run {
    on(1, async move {
        let (send, mut recv) = mpsc::channel(ROOM);
        timed(async {
            for i in 0..wanted as u64 {
                send.send(i).await.unwrap();
                must(recv.recv().await == Some(i), "each message came back");
            }
            wanted
        })
        .await
    })
}

async fn produce(send: mpsc::Sender<u64>, count: usize) {
    for i in 0..count as u64 {
        send.send(i).await.unwrap();
    }
}

async fn consume(mut recv: mpsc::Receiver<u64>, count: usize) -> usize {
    let mut next = 0;
    while let Some(got) = recv.recv().await {
        must(got == next, "messages arrive in the order they were sent in");
        next += 1;
    }
    must(next as usize == count, "each message was received");
    count
}

fn chan_two_tasks(wanted: usize) -> Run {
    on(1, async move {
        let (send, recv) = mpsc::channel(ROOM);
        timed(async {
            tokio::spawn(produce(send, wanted));
            consume(recv, wanted).await
        })
        .await
    })
}

fn chan_ping_pong(wanted: usize) -> Run {
    let trips = wanted / 2 + 1;
    on(1, async move {
        let (to, mut there) = mpsc::channel::<u64>(1);
        let (reply, mut back) = mpsc::channel::<u64>(1);
        tokio::spawn(async move {
            while let Some(got) = there.recv().await {
                reply.send(got).await.unwrap();
            }
        });
        timed(async {
            for i in 0..trips as u64 {
                to.send(i).await.unwrap();
                must(back.recv().await == Some(i), "each message came back");
            }
            2 * trips
        })
        .await
    })
}

/// Another runtime of one thread; the caller's and it are kept on a CPU each.
fn on_two<F, T>(there: F, here: T) -> Run
where
    F: Future<Output = ()> + Send + 'static,
    T: Future<Output = Run> + Send + 'static,
{
    let other = std::thread::spawn(move || {
        harness::pin(1);
        on(1, there);
    });
    let one = std::thread::spawn(move || {
        harness::pin(0);
        on(1, here)
    });
    let run = one.join().unwrap();
    other.join().unwrap();
    run
}

fn chan_threads(wanted: usize) -> Run {
    let (send, recv) = mpsc::channel(ROOM);
    on_two(produce(send, wanted), async move { timed(consume(recv, wanted)).await })
}

fn wake_parked(wanted: usize) -> Run {
    let (to, mut there) = mpsc::channel::<usize>(1);
    let (reply, mut back) = mpsc::channel::<usize>(1);
    let answer = async move {
        while let Some(got) = there.recv().await {
            reply.send(got).await.unwrap();
        }
    };
    on_two(answer, async move {
        timed(async move {
            for i in 0..wanted {
                to.send(i).await.unwrap();
                must(back.recv().await == Some(i), "each call was answered once");
            }
            wanted
        })
        .await
    })
}

// ---- timers ----

const HOUR_MS: u64 = 3_600_000;

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *seed >> 33
}

fn random_delay(seed: &mut u64) -> Duration {
    Duration::from_millis(1000 + random(seed) % HOUR_MS)
}

type Timer = Pin<Box<tokio::time::Sleep>>;

/// Starts a timer: that is what polling it for the first time does.
struct Start<'a>(&'a mut Timer);

impl Future for Start<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        must(self.0.as_mut().poll(context).is_pending(), "a far timer is not over");
        Poll::Ready(())
    }
}

async fn timers(count: usize) -> Vec<Timer> {
    let mut seed = 2;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut timer = Box::pin(tokio::time::sleep(random_delay(&mut seed)));
        Start(&mut timer).await;
        all.push(timer);
    }
    all
}

fn timer_start_stop(wanted: usize, count: usize) -> Run {
    on(1, async move {
        let _others = timers(count).await;
        timed(async {
            let mut seed = 1;
            for _ in 0..wanted {
                let mut timer = Box::pin(tokio::time::sleep(random_delay(&mut seed)));
                Start(&mut timer).await;
            }
            wanted
        })
        .await
    })
}

fn timer_reset(wanted: usize, count: usize) -> Run {
    on(1, async move {
        let mut all = timers(count).await;
        timed(async {
            let mut seed = 1;
            for _ in 0..wanted {
                let which = random(&mut seed) as usize % count;
                let due = tokio::time::Instant::now() + random_delay(&mut seed);
                all[which].as_mut().reset(due);
            }
            wanted
        })
        .await
    })
}

fn sleep_1ms(wanted: usize) -> Run {
    on(1, async move {
        let mut late: Vec<i64> = vec![];
        let mut run = timed(async {
            while late.len() < wanted.max(300) {
                let due = Instant::now() + Duration::from_millis(1);
                tokio::time::sleep(Duration::from_millis(1)).await;
                late.push(Instant::now().duration_since(due).as_nanos() as i64);
            }
            late.len()
        })
        .await;
        late.sort_unstable();
        let quantile = |share: f64| late[(share * (late.len() - 1) as f64) as usize] as f64 / 1000.0;
        run.counters = vec![("p50_us", quantile(0.5)), ("p99_us", quantile(0.99))];
        run
    })
}

// ---- files, and calls on the pool ----

/// As its experts do it: a positioned read on the blocking pool (tokio::fs::File would seek first).
async fn read_pages(file: Arc<File>, reads: usize, mut seed: u64) {
    for _ in 0..reads {
        let number = random(&mut seed) % harness::PAGES;
        let from = file.clone();
        let good = tokio::task::spawn_blocking(move || harness::is_page(&*from, number));
        must(good.await.unwrap(), "each read gave its page");
    }
}

fn file_read(wanted: usize, tasks: usize) -> Run {
    let file = Arc::new(harness::pages());
    let each = wanted / tasks + 16;
    on(1, async move {
        timed(async {
            let all: Vec<_> =
                (0..tasks).map(|i| tokio::spawn(read_pages(file.clone(), each, i as u64))).collect();
            for one in all {
                one.await.unwrap();
            }
            each * tasks
        })
        .await
    })
}

fn pool_hop(wanted: usize) -> Run {
    on(1, async move {
        timed(async {
            for i in 0..wanted {
                let result = tokio::task::spawn_blocking(move || i + 1).await.unwrap();
                must(result == i + 1, "each call on the pool returned its successor");
            }
            wanted
        })
        .await
    })
}

// ---- memory ----

fn memory_parked(_wanted: usize) -> Run {
    const TASKS: usize = 100_000;
    on(1, async move {
        let before = harness::memory_now();
        let mut run = timed(async {
            for _ in 0..TASKS {
                tokio::spawn(tokio::time::sleep(Duration::from_secs(86_400)));
            }
            yield_now().await; // behind all of them in the queue
            TASKS
        })
        .await;
        let after = harness::memory_now();
        let each = |bytes: f64| bytes / TASKS as f64;
        run.counters = vec![("bytes_rss", each(after.0 - before.0)), ("bytes_page_tables", each(after.1 - before.1))];
        run // the runtime's end is theirs
    })
}

fn main() {
    let mut cases = vec![
        Case::new("spawn_join", spawn_join),
        Case::new("spawn_join_1000", spawn_join_1000),
        Case::new("tree", tree),
        Case::new("yield_2", |n| yield_ring(n, 2)),
        Case::new("yield_ring_1000", |n| yield_ring(n, 1000)),
        Case::new("chan_same_task", chan_same_task),
        Case::new("chan_two_tasks", chan_two_tasks),
        Case::new("chan_ping_pong", chan_ping_pong),
        Case::new("chan_mpsc_threads", chan_threads),
        Case::new("chan_spsc_threads", chan_threads),
        Case::new("wake_parked", wake_parked),
        Case::new("sleep_1ms", sleep_1ms),
        Case::new("file_read_4k/1", |n| file_read(n, 1)),
        Case::new("file_read_4k/32", |n| file_read(n, 32)),
        Case::new("pool_hop", pool_hop),
        Case::once("memory_parked", memory_parked),
    ];
    for count in [1000, 10_000, 100_000, 1_000_000] {
        cases.push(Case::new(&format!("timer_start_stop/{count}"), move |n| timer_start_stop(n, count)));
        cases.push(Case::new(&format!("timer_reset/{count}"), move |n| timer_reset(n, count)));
    }
    harness::run(&cases);
}
