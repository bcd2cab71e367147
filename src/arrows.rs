//! Checks that imports go down: layers, tools, core, ground; that no two rooms import each other;
//! and that a function of the core can be read without turning the page.

use std::{collections::BTreeMap, fs, path::Path};

/// The rooms by their lines, the lowest first. A room imports its own line and those below, and a
/// layer no other layer.
const LINES: [&[&str]; 5] = [
    &[
        "deadline_header",
        "dice",
        "header_names",
        "human",
        "own_header",
        "reason",
        "serde_http",
        "text",
    ],
    &[
        "body", "budget", "classify", "error", "policy", "report", "snapshot", "stack", "trial",
    ],
    &[
        "admitted",
        "config",
        "dry_run",
        "lint",
        "mounts",
        "observe",
        "shadow",
        "shared_hints",
        "telemetry",
        "throttle",
    ],
    &[
        "connection",
        "endpoints",
        "grpc",
        "hedge",
        "peek",
        "redirect",
        "resume",
        "retry",
        "veto",
    ],
    // Made of layers.
    &["reqwest"],
];

/// What still goes the wrong way, from one room to another. It only gets shorter.
const KNOWN: [(&str, &str); 2] = [
    // The errors of the client that is wrapped there.
    ("classify", "reqwest"),
    ("error", "reqwest"),
];

fn line(room: &str) -> Option<usize> {
    LINES.iter().position(|rooms| rooms.contains(&room))
}

/// What follows each `crate::` in the code of a file that is compiled for users.
fn imports(code: &str) -> Vec<String> {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.collect::<Vec<_>>().join("\n");
    let word = |text: &str| -> String {
        let letters = text
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_');
        letters.collect()
    };
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(tree) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, c) in tree.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if c.is_whitespace() => {}
                _ if begins => {
                    found.push(word(&tree[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn visit(dir: &Path, files: &mut Vec<(String, String)>, root: &Path) {
    for entry in fs::read_dir(dir).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, files, root);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path.strip_prefix(root).expect("below the root");
            let name = name.to_string_lossy().replace('\\', "/");
            let is_test = name.contains("/tests") || name.contains("/model");
            if !is_test && !["lib.rs", "arrows.rs"].contains(&&*name) && !name.starts_with("guide/")
            {
                files.push((name, fs::read_to_string(&path).expect("a text")));
            }
        }
    }
}

#[test]
fn imports_go_down_and_no_two_rooms_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    visit(&root, &mut files, &root);
    let mut edges: BTreeMap<(String, String), String> = BTreeMap::new();
    for (name, code) in &files {
        let room = name.split(['/', '.']).next().unwrap_or("").to_owned();
        assert!(line(&room).is_some(), "`{name}`: its room has no line yet");
        for other in imports(code) {
            if line(&other).is_some() && other != room {
                edges.entry((room.clone(), other)).or_insert(name.clone());
            }
        }
    }
    // The reader of imports would otherwise be blind without anybody noticing.
    assert!(edges.contains_key(&("retry".to_owned(), "policy".to_owned())));
    let mut wrong = Vec::new();
    let mut known = Vec::new();
    for ((from, to), file) in &edges {
        let (high, low) = (line(from), line(to));
        let goes_up = high < low;
        let between_layers = high == Some(3) && low == Some(3);
        let back = edges.get(&(to.clone(), from.clone()));
        // Of a pair on two lines, the arrow that goes up is the wrong one.
        let both_ways = back.is_some() && high <= low;
        if !goes_up && !between_layers && !both_ways {
            continue;
        }
        match KNOWN.iter().find(|known| **known == (from, to)) {
            Some(pair) => known.push(*pair),
            None => wrong.push(format!(
                "{file} imports `{to}`, of which {back:?} imports `{from}`"
            )),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let gone: Vec<_> = KNOWN.iter().filter(|pair| !known.contains(pair)).collect();
    assert!(gone.is_empty(), "mended, to be taken out: {gone:?}");
}

/// Functions of the core that are too long still. It only gets shorter.
const LONG: [&str; 0] = [];

/// The names and lines of the functions in a file that rustfmt has formatted.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let mut words = line.split_whitespace().skip_while(|word| {
            word.starts_with("pub") || ["async", "const", "in", "super)"].contains(word)
        });
        if words.next() != Some("fn") {
            continue;
        }
        let name = words.next().unwrap_or("");
        let name = name.split(['(', '<']).next().unwrap_or("");
        let ends = |line: &&str| line.len() == indent + 1 && line.ends_with('}');
        if let Some(length) = lines[begin..].iter().position(ends) {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

#[test]
fn no_function_of_the_core_is_longer_than_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    visit(&root, &mut files, &root);
    let rooms = ["retry/", "trial.rs", "policy/session/"];
    files.retain(|(name, _)| rooms.iter().any(|room| name.starts_with(room)));
    let all: Vec<_> = files.iter().flat_map(|(_, code)| functions(code)).collect();
    // The reader of functions would otherwise be blind without anybody noticing.
    assert!(all.len() > 100, "{all:?}");
    let long = all.iter().filter(|(_, lines)| *lines > 60);
    let new: Vec<_> = long.filter(|(name, _)| !LONG.contains(&&**name)).collect();
    assert!(new.is_empty(), "longer than 60 lines: {new:?}");
}
