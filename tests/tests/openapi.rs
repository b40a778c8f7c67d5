//! The committed OpenAPI document against the real daemon: schemathesis makes requests of it, good
//! and bad ones, and no answer may be a failure of the server's or one that the document does not
//! have.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::process::Keeping;

/// What is checked of each answer. Whether every bad request is refused is for our own tests: the
/// document cannot say everything that makes one bad.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,unsupported_method";
const PORT: u16 = 7070;
/// With other tests on the same machine.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(900);

fn tool() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("target/tools/schemathesis/bin/schemathesis");
    let path = path.canonicalize();
    path.context("no schemathesis under target/tools: `cargo xtask setup` installs it")
}

#[test]
fn schemathesis_finds_no_failure_and_no_answer_that_is_not_documented() -> Result<()> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let config = fs::read_to_string(lab.redirector.config())?;
    let port = format!("[api]\nlisten = \"127.0.0.1:{PORT}\"\n");
    fs::write(lab.redirector.config(), config.replace("[api]\n", &port))?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;

    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../redirector-ctl/openapi.json");
    let url = format!("http://127.0.0.1:{PORT}");
    let directory = lab.run().dir().join("schemathesis");
    fs::create_dir(&directory)?;
    let keeping = Keeping { log_dir: directory, life: lab.plan().life };
    let launch = keeping.launch("schemathesis", lab.network.host("gateway")?);
    let document = document.to_string_lossy();
    let arguments = [
        "run",
        &document,
        "--url",
        &url,
        "--checks",
        CHECKS,
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "25",
        "--seed",
        "1",
        "--request-timeout",
        "30",
        "--continue-on-failure",
        "--no-color",
    ];
    let mut process = launch.start(&tool()?, &arguments)?;
    let status = process.wait_exit(WITHIN)?;
    ensure!(status.success(), "schemathesis: {status}\n{}{}", process.output()?, process.log());
    ensure!(lab.redirector.is_running()?, "the daemon has ended:\n{}", lab.redirector.log_tail());
    ensure!(!lab.redirector.log_tail().contains("panicked"), "{}", lab.redirector.log_tail());
    Ok(())
}
