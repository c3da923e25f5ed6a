//! What Google Benchmark is to the others: options, as many operations as fill the time, its JSON.
//! A filter is names or parts of names with | between them, each with ^ before and $ behind it or without.
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// What a body measured: of at least the operations that were wanted.
pub struct Run {
    pub ops: usize,
    pub took: Duration,
    pub cpu: Duration,
    pub counters: Vec<(&'static str, f64)>,
}

pub struct Case {
    name: String,
    body: Box<dyn Fn(usize) -> Run>,
    once: bool, // one batch is enough, and dear
}

impl Case {
    pub fn new(name: &str, body: impl Fn(usize) -> Run + 'static) -> Case {
        Case { name: name.into(), body: Box::new(body), once: false }
    }

    pub fn once(name: &str, body: impl Fn(usize) -> Run + 'static) -> Case {
        Case { once: true, ..Case::new(name, body) }
    }
}

/// Ends the program: a figure of work that was not done right is worth nothing.
pub fn must(holds: bool, claim: &str) {
    if !holds {
        eprintln!("not so: {claim}");
        std::process::exit(1);
    }
}

pub fn process_cpu() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Keeps the calling thread on that CPU of those it may use, the last one if there are fewer.
pub fn pin(number: usize) {
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = std::mem::size_of_val(&set);
        libc::sched_getaffinity(0, size, &mut set);
        let allowed: Vec<usize> = (0..libc::CPU_SETSIZE as usize).filter(|i| libc::CPU_ISSET(*i, &set)).collect();
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(allowed[number.min(allowed.len() - 1)], &mut set);
        libc::sched_setaffinity(0, size, &set);
    }
}

/// Resident memory and page tables, in bytes.
pub fn memory_now() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok()).unwrap_or(0.0) * 1024.0
    };
    (field("VmRSS:"), field("VmPTE:"))
}

pub const PAGES: u64 = 16384;
const PAGE: usize = 4096;

/// An unlinked file of numbered pages, all in the page cache.
pub fn pages() -> File {
    let path = std::env::temp_dir().join(format!("pages-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).write(true).create_new(true).open(&path).expect("a file of pages");
    std::fs::remove_file(&path).expect("a file of pages");
    let mut page = [0u8; PAGE];
    for number in 0..PAGES {
        page[..8].copy_from_slice(&number.to_ne_bytes());
        page[PAGE - 8..].copy_from_slice(&(!number).to_ne_bytes());
        file.write_all(&page).expect("room for the file of pages");
    }
    file
}

/// Reads a page; first and last word carry its number.
pub fn is_page(file: &File, number: u64) -> bool {
    let mut page = [0u8; PAGE];
    file.read_exact_at(&mut page, number * PAGE as u64).is_ok()
        && page[..8] == number.to_ne_bytes()
        && page[PAGE - 8..] == (!number).to_ne_bytes()
}

fn measure(case: &Case, min_time: Duration) -> Run {
    let mut wanted = 100;
    loop {
        let run = (case.body)(wanted);
        if case.once || run.took >= min_time || wanted >= 1_000_000_000 {
            return run;
        }
        let share = min_time.as_secs_f64() / run.took.as_secs_f64().max(1e-9);
        wanted = if share > 10.0 { run.ops * 10 } else { (run.ops as f64 * share * 1.4) as usize + 1 };
    }
}

fn is_chosen(name: &str, filter: &str) -> bool {
    if let Some(list) = filter.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$")) {
        return list.split('|').any(|one| name == one);
    }
    filter.split('|').any(|part| {
        let (from, start) = part.strip_prefix('^').map_or((part, false), |rest| (rest, true));
        let (text, end) = from.strip_suffix('$').map_or((from, false), |rest| (rest, true));
        match (start, end) {
            (true, true) => name == text,
            (true, false) => name.starts_with(text),
            (false, true) => name.ends_with(text),
            (false, false) => text == "." || text == ".*" || name.contains(text),
        }
    })
}

fn json(case: &Case, run: &Run) -> String {
    let per = |time: Duration| time.as_nanos() as f64 / run.ops as f64;
    let mut text = format!(
        "    {{\"name\": \"{0}\", \"run_name\": \"{0}\", \"run_type\": \"iteration\", \"repetitions\": 1, \
         \"repetition_index\": 0, \"threads\": 1, \"iterations\": {1}, \"real_time\": {2}, \"cpu_time\": {3}, \
         \"time_unit\": \"ns\"",
        case.name,
        run.ops,
        per(run.took),
        per(run.cpu)
    );
    for (key, value) in &run.counters {
        text += &format!(", \"{key}\": {value}");
    }
    text + "}"
}

pub fn run(cases: &[Case]) {
    let (mut filter, mut min_time, mut as_json, mut list) = (String::from("."), 0.5, false, false);
    for argument in std::env::args().skip(1) {
        let (key, value) = argument.split_once('=').unwrap_or((&argument, ""));
        match key {
            "--benchmark_filter" => filter = value.into(),
            "--benchmark_min_time" => min_time = value.parse().expect("--benchmark_min_time is a number of seconds"),
            "--benchmark_format" => as_json = value == "json",
            "--benchmark_list_tests" => list = true,
            _ => {
                eprintln!("micro_tokio: {argument} is not understood");
                std::process::exit(1);
            }
        }
    }
    let mut results = vec![];
    let chosen: Vec<&Case> = cases.iter().filter(|case| is_chosen(&case.name, &filter)).collect();
    for case in &chosen {
        if list {
            println!("{}", case.name);
            continue;
        }
        let run = measure(case, Duration::from_secs_f64(min_time));
        if !as_json {
            let per = |time: Duration| time.as_nanos() as f64 / run.ops as f64;
            println!("{:<28} {:12.1} ns {:12.1} ns {:12}", case.name, per(run.took), per(run.cpu), run.ops);
            for (key, value) in &run.counters {
                println!("    {key} {value:.1}");
            }
        }
        results.push(json(case, &run));
    }
    if as_json && !list {
        println!("{{\n  \"context\": {{\"executable\": \"micro_tokio\"}},\n  \"benchmarks\": [\n{}\n  ]\n}}", results.join(",\n"));
    }
    std::process::exit(chosen.is_empty() as i32);
}
