//! `make bench`: what the gateway costs beside the least that does its job.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use keyturn_ambient::{Clock, SystemClock};
use keyturn_bench::machine::Machine;
use keyturn_bench::progress::Progress;
use keyturn_bench::report::record::{Half, Record};
use keyturn_bench::report::{Table, chart, markdown, terminal};
use keyturn_bench::{keys, lambda, server_mode};
use keyturn_tests::binaries::workspace;

/// Measures the gateway beside the least that does its job.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Measure one part alone.
    #[arg(long)]
    only: Option<Only>,
    /// Measure less, for a first look.
    #[arg(long, conflicts_with = "write_docs")]
    quick: bool,
    /// Leave LiteLLM and Portkey out.
    #[arg(long)]
    no_peers: bool,
    /// Put the tables into docs/performance.md and the chart into docs/performance.svg.
    #[arg(long)]
    write_docs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// The functions under the Runtime API emulator.
    Lambda,
    /// Virtual keys: what one costs, and one that is very busy.
    Keys,
    /// `keyturn serve` and its peers.
    Server,
}

impl Arguments {
    fn measures(&self, part: Only) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let file = workspace().join("target/bench/result.json");
    // Read first: a file that cannot be read is better known before the minutes that follow.
    let mut record = Record::read(&file)
        .map_err(|error| io::Error::other(format!("{}: {error}; remove it", shown(&file))))?;
    let machine = Machine::describe();
    anstream::println!("{machine}");
    let mut measured: Vec<Table> = Vec::new();
    if arguments.measures(Only::Lambda) {
        let started_at = SystemClock.now().to_string();
        let plan = if arguments.quick { lambda::Plan::quick() } else { lambda::Plan::full() };
        let tables = lambda::measure(plan, &Progress::default()).await;
        terminal::print(&tables);
        measured.extend(tables.clone());
        record.lambda = Some(half(&arguments, started_at, &machine, tables));
        record.write(&file)?;
    }
    if arguments.measures(Only::Keys) {
        let started_at = SystemClock.now().to_string();
        let plan = if arguments.quick { keys::Plan::quick() } else { keys::Plan::full() };
        let tables = keys::measure(plan, &Progress::default()).await;
        terminal::print(&tables);
        measured.extend(tables.clone());
        record.keys = Some(half(&arguments, started_at, &machine, tables));
        record.write(&file)?;
    }
    if arguments.measures(Only::Server) {
        let started_at = SystemClock.now().to_string();
        let peers = !arguments.no_peers;
        let plan =
            if arguments.quick { server_mode::Plan::quick(peers) } else { server_mode::Plan::full(peers) };
        let tables = server_mode::measure(plan, &Progress::default()).await;
        terminal::print(&tables);
        measured.extend(tables.clone());
        record.server = Some(half(&arguments, started_at, &machine, tables));
        record.write(&file)?;
    }
    terminal::print_missed(&measured);
    if arguments.write_docs {
        write_docs(&workspace().join("docs"), &record)?;
    }
    anstream::println!("\nEvery figure is in {}.", shown(&file));
    Ok(())
}

/// One half as it was measured just now.
fn half(arguments: &Arguments, started_at: String, machine: &Machine, tables: Vec<Table>) -> Half {
    let finished_at = SystemClock.now().to_string();
    Half { started_at, finished_at, quick: arguments.quick, machine: machine.clone(), tables }
}

/// The last full run of each half, as it is recorded, goes into the documents.
fn write_docs(docs: &Path, record: &Record) -> io::Result<()> {
    let halves = [("lambda", &record.lambda), ("keys", &record.keys), ("server", &record.server)];
    let full = halves
        .into_iter()
        .filter_map(|(name, half)| Some((name, half.as_ref()?)))
        .filter(|(_, half)| !half.quick);
    let full: Vec<(&str, &Half)> = full.collect();
    let file = docs.join("performance.md");
    let mut document = fs::read_to_string(&file)?;
    for (name, half) in &full {
        let day = half.finished_at.split('T').next().unwrap_or_default();
        let text = format!("Measured on {day}: {}.\n{}", half.machine, markdown::tables(&half.tables));
        let no_place = || io::Error::other(format!("{} has no markers for {name}", file.display()));
        document = markdown::placed(&document, name, &text).ok_or_else(no_place)?;
    }
    fs::write(&file, document)?;
    let tables: Vec<&Table> = full.iter().flat_map(|(_, half)| &half.tables).collect();
    if record.lambda.as_ref().is_none_or(|half| half.quick)
        || record.server.as_ref().is_none_or(|half| half.quick)
    {
        anstream::eprintln!(
            "The chart has one half only: the other has no full run in target/bench/result.json."
        );
    }
    if let Some(svg) = chart::draw(&tables) {
        fs::write(docs.join("performance.svg"), svg)?;
    }
    Ok(())
}

/// A path as it is seen from the workspace.
fn shown(file: &Path) -> String {
    let shown: PathBuf = file.strip_prefix(workspace()).map_or_else(|_| file.to_owned(), Path::to_owned);
    shown.display().to_string()
}
