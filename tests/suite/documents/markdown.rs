//! As much of Markdown as the documents use: fenced blocks, links, headings.

use std::fs;
use std::path::{Path, PathBuf};

/// One document of the repository.
pub struct Document {
    /// Its path within the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A fenced block.
pub struct Block {
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// What stands behind the fence: `console`, `rust,ignore`.
    pub language: String,
    /// What stands within.
    pub text: String,
    /// `<!-- not run: REASON -->` right before it.
    pub not_run: Option<String>,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every document: those at the top and those in docs/.
pub fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    for folder in ["", "docs"] {
        for entry in fs::read_dir(root().join(folder)).expect("the repository can be read").flatten() {
            let path = Path::new(folder).join(entry.file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path.to_str().expect("UTF-8").to_string());
            }
        }
    }
    paths.sort();
    let read = |path: String| Document { text: fs::read_to_string(root().join(&path)).expect(&path), path };
    paths.into_iter().map(read).collect()
}

impl Document {
    /// Its fenced blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut before = "";
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let not_run = before.strip_prefix("<!-- not run:").and_then(|rest| rest.strip_suffix("-->"));
                let within = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
                blocks.push(Block {
                    line: number + 1,
                    language: language.to_string(),
                    text: within.map(|line| format!("{line}\n")).collect(),
                    not_run: not_run.map(|reason| reason.trim().to_string()),
                });
            }
            before = line;
        }
        blocks
    }

    /// The text without its fenced blocks and its `code`.
    pub fn prose(&self) -> String {
        let mut fenced = false;
        let lines = self.text.lines().filter(|line| {
            let fence = line.starts_with("```");
            fenced ^= fence;
            !fence && !fenced
        });
        let lines = lines.collect::<Vec<_>>().join("\n");
        lines.split('`').step_by(2).collect()
    }

    /// The targets of its links.
    pub fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_string()).collect()
    }
}
