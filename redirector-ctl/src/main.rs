//! The binary: runs the daemon, or asks a running one. What it does on this machine is here; what
//! it asks the daemon is in [`redirector_ctl::cli`].

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use redirector_ctl::cli::{self, Args, Command, Exit, Options, Output, TokenCommand};
use redirector_ctl::config::{Config, ConfigError, LogConfig, LogFormat};
use redirector_ctl::core::doctor::Verdict;
use redirector_ctl::platform::{bpf, privileges};
use redirector_ctl::{api, daemon};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Command::Run(file) => run(&file.config),
        Command::Check(file) => check(&file.config),
        Command::Doctor(file) => doctor(&file.config, args.options.output),
        Command::Detach(file) => detach(&file.config),
        Command::Openapi => print(&api::openapi_document()),
        Command::Token(TokenCommand::New { name, role }) => {
            new_token(&name, role, args.options.output)
        }
        Command::Completions { shell } => completions(shell),
        Command::Man { dir } => man(dir.as_deref()),
        Command::Ask(ask) => ask_daemon(ask, &args.options),
    };
    done.unwrap_or_else(|error| {
        tell(&error);
        Exit::Failed.into()
    })
}

/// Says what went wrong. The mistakes of a file are one line each, as compilers do it.
fn tell(error: &anyhow::Error) {
    let mut err = io::stderr();
    // Where standard error cannot be written there is nobody left to tell.
    let _ = match error.downcast_ref() {
        Some(mistakes @ ConfigError::Invalid { .. }) => writeln!(err, "{mistakes}"),
        _ => writeln!(err, "redirector: {error:#}"),
    };
}

/// Runs the daemon until it is told to stop.
fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    start_log(config.log);
    // Before the runtime, which starts threads.
    privileges::confine()?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        // Whoever waits for it reads files anew; where nobody does, it must not end the daemon.
        let _hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        daemon::run(config, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    api::check_access(&config.api)?;
    print(&format!(
        "{} is valid: {} interfaces, {} servers, {} devices\n",
        path.display(),
        config.interfaces.len(),
        config.servers.len(),
        config.devices.len()
    ))
}

fn doctor(path: &Path, output: cli::Output) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    let findings = runtime()?.block_on(redirector_ctl::doctor::findings(&config))?;
    print(&match output {
        cli::Output::Json => format!("{}\n", serde_json::to_string_pretty(&findings)?),
        cli::Output::Table => redirector_ctl::doctor::text(&findings),
    })?;
    Ok(match redirector_ctl::core::doctor::worst(&findings) {
        Verdict::Fault => Exit::Failed.into(),
        Verdict::Good | Verdict::Note | Verdict::Warning => ExitCode::SUCCESS,
    })
}

fn detach(path: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    // A running daemon holds the state directory's lock, so this refuses before anything is
    // removed.
    let withdrawn = daemon::withdraw(&config.redirector.state_dir);
    let mut removed = runtime()?.block_on(withdrawn)?;
    removed.extend(bpf::detach(&config.redirector.bpffs_dir)?);
    if removed.is_empty() {
        let directory = config.redirector.bpffs_dir.display();
        return print(&format!("nothing is attached: {directory} holds nothing of ours\n"));
    }
    print(&removed.iter().map(|what| format!("removed {what}\n")).collect::<String>())
}

/// Prints a token, which is kept nowhere, and what the file of credentials needs to know of it.
fn new_token(name: &str, role: api::Role, output: Output) -> anyhow::Result<ExitCode> {
    let new = api::NewToken::new(name, role).map_err(anyhow::Error::msg)?;
    match output {
        Output::Json => print(&(serde_json::to_string(&new)? + "\n")),
        Output::Table => print(&format!(
            "token, for {name} alone; it is not shown again:\n{}\n\n\
             line for the file that `credentials` in [api] names:\n{}\n",
            new.token, new.line
        )),
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "redirector", &mut script);
    print(&String::from_utf8_lossy(&script))
}

fn man(dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Args::command()).render(&mut page)?;
        return print(&String::from_utf8_lossy(&page));
    };
    clap_mangen::generate_to(Args::command(), dir)
        .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn ask_daemon(ask: cli::Ask, options: &Options) -> anyhow::Result<ExitCode> {
    let asked = runtime()?.block_on(cli::ask(ask, options, &mut io::stdout(), &mut io::stderr()));
    broken_pipe_is_fine(asked.map(ExitCode::from))
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    let printed = io::stdout().write_all(text.as_bytes());
    broken_pipe_is_fine(printed.map(|()| ExitCode::SUCCESS))
}

/// Whoever reads our output may have seen enough, as in `redirector events | head`.
fn broken_pipe_is_fine(done: io::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => other.context("cannot write the answer"),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("cannot start threads")
}

/// The log goes to standard error; `RUST_LOG` says how much of it, `info` by default.
fn start_log(config: LogConfig) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Whoever tells standard error that it cannot be written, as on a full disk, panics.
    let log = log.log_internal_errors(false);
    match config.format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        // Fields beside the message, so that whoever filters by one needs no path to it.
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).init(),
    }
}
