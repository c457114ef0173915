//! `rapidsms test`: conversation scripts against the apps of the settings, on a router without threads and a store in memory.

use super::arguments::Test;
use super::print::{Out, counted, shown};
use super::{Ended, Exit, Failure, Place};
use crate::registry::Registry;
use crate::router::Router;
use crate::settings::Settings;
use crate::shell::{Workforce, rules};
use crate::store::memory::Memory;
use crate::testing::{BACKEND, TestRouter, TestScript};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// The longest script that is read.
const LONGEST_SCRIPT: u64 = 4 * 1024 * 1024;

#[derive(Serialize)]
struct Verdict {
    file: String,
    passed: bool,
    /// How many lines were checked.
    lines: usize,
    /// Where it failed.
    line: Option<usize>,
    /// How it failed.
    error: Option<String>,
}

/// Runs each script on a fresh router.
pub(super) fn run(place: &Place, wanted: &Test) -> Ended {
    let settings = place.settings()?;
    let mut out = Out::new();
    let mut verdicts = Vec::new();
    for file in &wanted.files {
        let verdict = judge(file, &settings, &place.registry)?;
        if !wanted.output.json {
            let name = shown(&verdict.file);
            match &verdict.error {
                None => out.line(format_args!("ok    {name} ({})", counted(verdict.lines as u64, "line")))?,
                Some(error) => {
                    let at = verdict.line.map(|line| format!(":{line}")).unwrap_or_default();
                    out.line(format_args!("FAIL  {name}{at}: {error}"))?;
                }
            }
        }
        verdicts.push(verdict);
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    if wanted.output.json {
        out.json(&verdicts)?;
    } else {
        out.line(format_args!("{} passed, {failed} failed", verdicts.len() - failed))?;
    }
    out.end()?;
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

fn judge(file: &Path, settings: &Settings, registry: &Registry) -> Result<Verdict, Failure> {
    let name = if file == Path::new("-") { "standard input".to_string() } else { file.display().to_string() };
    let verdict = |lines, line, error: Option<String>| {
        let passed = error.is_none();
        Verdict { file: name.clone(), passed, lines, line, error }
    };
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => return Ok(verdict(0, None, Some(format!("cannot be read: {error}")))),
    };
    let mut router = router(settings, registry)?;
    let ran = TestScript::parse(&name, &text).and_then(|script| script.run(&mut router));
    Ok(match ran {
        // A file of comments, or the wrong file, must not look like a test.
        Ok(0) => verdict(0, None, Some("has no line that could be tested".into())),
        Ok(lines) => verdict(lines, None, None),
        Err(failure) => verdict(0, Some(failure.line), Some(failure.what)),
    })
}

fn read(file: &Path) -> io::Result<String> {
    let input: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(file)?) };
    let mut octets = Vec::new();
    input.take(LONGEST_SCRIPT + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > LONGEST_SCRIPT {
        return Err(io::Error::other("a script has 4 MiB at most"));
    }
    String::from_utf8(octets).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|octet| **octet == b'\n').count() + 1;
        io::Error::other(format!("line {line} is not UTF-8"))
    })
}

/// The apps and backends of the settings around a store in memory and a clock in the hand. Every backend takes
/// whatever is sent to it, and the loop guard is off unless the settings switch it on by name.
pub(super) fn router(settings: &Settings, registry: &Registry) -> Result<TestRouter, Failure> {
    let apps = registry.build_apps(settings)?;
    let router = Router::new(Box::new(Memory::new()), apps, rules::policy(settings), 1);
    let around = TestRouter::with_threads(router, Arc::new(Workforce::default()));
    let mut router = around.map_err(|failures| Failure::failed(failures.join("\n")))?;
    router.set_patience(settings.router.app_timeout);
    for backend in &settings.backends {
        let mut policy = rules::backend_policy(backend, backend.window.unwrap_or(1));
        policy.loop_guard &= backend.options.is_given("loop_guard");
        router.add_backend(&backend.name, policy);
    }
    let named = settings.backends.iter().any(|backend| backend.name == BACKEND);
    if let (false, Some(tester)) = (named, settings.backends.iter().find(|backend| backend.tester)) {
        router.set_default_backend(&tester.name);
    }
    Ok(router)
}
