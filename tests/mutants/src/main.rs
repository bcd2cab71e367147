//! Writes mutants into the source, all of them at once: which one is alive is asked when the
//! program runs, so that one build serves for hundreds.
//!
//! `mutants LIST FOLDER` reads what `cargo mutants --list --json` prints, each mutant with an `id`
//! of its own added, and changes the files in the folder. It prints where each mutant stands, so
//! that an error of the compiler can be told to be one mutant's: `{"src/a.rs": [{"id": 7, "start":
//! 120, "end": 160, "item": [80, 300]}]}`, in bytes of the changed file.

mod site;
mod weave;

use std::{collections::BTreeMap, env, error::Error, fs, path::Path};

use serde::Deserialize;

/// A mutant, as cargo-mutants lists it.
#[derive(Debug, Deserialize)]
struct Mutant {
    id: u32,
    file: String,
    genre: Genre,
    replacement: String,
    span: Range,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Debug, Deserialize)]
struct Range {
    start: Position,
    end: Position,
}

/// Both are counted from 1 on, columns in characters.
#[derive(Debug, Deserialize)]
struct Position {
    line: usize,
    column: usize,
}

/// What is asked at each site. A run with `MUTANT_REACHED` writes down which test came to which
/// mutant.
const ASKED: &str = r#"
#![allow(warnings)]
#[doc(hidden)]
pub(crate) fn mutant(id: u32) -> bool {
    use std::{cell::RefCell, collections::HashSet, env, fs, io::Write, sync::{Mutex, OnceLock}};
    static ALIVE: OnceLock<u32> = OnceLock::new();
    static RECORD: OnceLock<Option<Mutex<fs::File>>> = OnceLock::new();
    thread_local!(static SEEN: RefCell<HashSet<u32>> = RefCell::default());
    let alive = *ALIVE.get_or_init(|| env::var("MUTANT").map_or(0, |id| id.parse().unwrap()));
    if alive != 0 {
        return alive == id;
    }
    let Some(record) = RECORD.get_or_init(|| {
        let path = env::var_os("MUTANT_REACHED")?;
        Some(Mutex::new(fs::File::options().append(true).create(true).open(path).unwrap()))
    }) else {
        return false;
    };
    if SEEN.try_with(|seen| seen.borrow_mut().insert(id)).unwrap_or(true) {
        let thread = std::thread::current();
        let line = format!("{id} {}\n", thread.name().unwrap_or("?"));
        record.lock().unwrap_or_else(|e| e.into_inner()).write_all(line.as_bytes()).unwrap();
    }
    false
}
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let [_, list, folder] = &env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: mutants LIST FOLDER".into());
    };
    let mut files: BTreeMap<String, Vec<Mutant>> = BTreeMap::new();
    for mutant in serde_json::from_str::<Vec<Mutant>>(&fs::read_to_string(list)?)? {
        files.entry(mutant.file.clone()).or_default().push(mutant);
    }
    let mut placed = BTreeMap::new();
    for (file, mutants) in &files {
        let path = Path::new(folder).join(file);
        let source = fs::read_to_string(&path)?;
        let (woven, places) = weave::weave(&source, mutants).map_err(|e| format!("{file}: {e}"))?;
        fs::write(&path, woven)?;
        placed.insert(file, places);
    }
    let root = Path::new(folder).join("src/lib.rs");
    let source = fs::read_to_string(&root)?;
    // Before the first item, attributes of its own included.
    let first = source.find("\n#[").min(source.find("\nmod "));
    let (attributes, rest) = source.split_at(first.ok_or("no module")? + 1);
    let (allow, asked) = ASKED.trim_start().split_once('\n').ok_or("no attribute")?;
    fs::write(&root, format!("{allow}\n{attributes}{asked}{rest}"))?;
    println!("{}", serde_json::to_string(&placed)?);
    Ok(())
}
