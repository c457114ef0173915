//! The targets of fuzz/ without cargo-fuzz: each on what it once found or was started with (fuzz/corpus), and on generated input.
//! CONTRIBUTING.md says how to run them for longer.

mod targets;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use targets::{ALL, Target};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names_in(place: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_string()).collect()
}

/// The octets of each file in the corpus of a target.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let place = folder("corpus").join(name);
    let files = names_in(&place).into_iter();
    files.map(|file| (file.clone(), fs::read(place.join(&file)).unwrap())).collect()
}

#[test]
fn each_target_has_its_file_and_its_corpus() {
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for (name, _) in ALL {
        let program = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(program.contains("tests/suite/fuzz/targets.rs"), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
        assert!(corpus(name).len() >= 3, "the corpus of {name} is empty");
    }
    assert_eq!(names_in(&folder("fuzz_targets")).len(), ALL.len());
    assert_eq!(names_in(&folder("corpus")).len(), ALL.len());
}

/// What a target was given, and what it was found with, holds for the others as well.
#[test]
fn what_was_found_stays_found() {
    for (name, _) in ALL {
        for (file, octets) in corpus(name) {
            for (target, body) in ALL {
                println!("{target} on {name}/{file}");
                body(&octets);
            }
        }
    }
}

/// Octets of the kind that a target looks at: any, and what is in its corpus, damaged.
fn nearly(name: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, octets)| octets).collect();
    let flips = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let damaged = (prop::sample::select(seeds), flips, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut octets, flips, cut, is_cut)| {
            for (at, value) in flips {
                if !octets.is_empty() {
                    let at = at.index(octets.len());
                    octets[at] = value;
                }
            }
            if is_cut {
                octets.truncate(cut.index(octets.len() + 1));
            }
            octets
        },
    );
    prop_oneof![1 => vec(any::<u8>(), 0..300), 3 => damaged]
}

fn run(name: &str, body: Target) {
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&nearly(name), |octets| {
        body(&octets);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// One test for each, so that they run beside one another and the failing one is named.
macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            let name = stringify!($name);
            let (_, body) = ALL.into_iter().find(|(known, _)| *known == name).expect("it is a target");
            run(name, body);
        })*

        #[test]
        fn every_target_is_run() {
            assert_eq!(ALL.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

targets!(
    pdu_decode,
    pdu_fixpoint,
    pdu_texts,
    gsm7,
    modem_dialogue,
    modem_answers,
    numbers,
    kannel,
    http_texts,
    http_requests,
    mail_read
);
