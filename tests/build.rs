//! Takes out of the documentation what its own tests compile and do not run, so that
//! `examples/snippets.rs` can run it: every snippet that is marked `no_run` or `ignore`, word for
//! word, but for where its URLs lead.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// A snippet with one of these marks is not run where it stands.
const MARKS: [&str; 2] = ["no_run", "ignore"];

struct Snippet {
    /// The module that it becomes: its file, and its number there.
    name: String,
    file: String,
    code: String,
}

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root.join("README.md")];
    collect(&root.join("src"), &mut files)?;
    files.sort();

    let mut generated = String::from("pub const ALL: &[(&str, &str)] = &[\n");
    let mut modules = String::new();
    // One that nobody runs yet fails there, and with a better message.
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/snippets.rs");
    println!("cargo::rerun-if-changed={}", runner.display());
    let runner = fs::read_to_string(runner)?;
    for path in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let file = path.strip_prefix(&root).expect("below it");
        let file = file.to_string_lossy().replace('\\', "/");
        for snippet in snippets(&file, &fs::read_to_string(&path)?) {
            let _ = writeln!(generated, "    ({:?}, {:?}),", snippet.name, snippet.file);
            if runner.contains(&format!("taken::{}::snippet()", snippet.name)) {
                modules.push_str(&module(&snippet));
            }
        }
    }
    generated.push_str("];\n");
    generated.push_str(&modules);
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("snippets.rs"), generated)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The snippets of a file that are not run where they stand.
fn snippets(file: &str, text: &str) -> Vec<Snippet> {
    let is_rust = file.ends_with(".rs");
    let mut found: Vec<Snippet> = Vec::new();
    // What is open: whether it is wanted.
    let mut open: Option<bool> = None;
    for line in text.lines() {
        let line = if is_rust {
            let line = line.trim_start();
            match line
                .strip_prefix("//!")
                .or_else(|| line.strip_prefix("///"))
            {
                Some(line) => line.strip_prefix(' ').unwrap_or(line),
                None => {
                    open = None;
                    continue;
                }
            }
        } else {
            line
        };
        if let Some(tag) = line.trim_start().strip_prefix("```") {
            open = match open {
                Some(_) => None,
                None => {
                    let wanted = tag.split(',').any(|mark| MARKS.contains(&mark.trim()));
                    if wanted {
                        let stem = file.trim_end_matches(".rs").trim_end_matches(".md");
                        let name = stem.to_lowercase().replace(['/', '.', '-'], "_");
                        let name = name.trim_start_matches("src_").trim_end_matches("_mod");
                        let count = found.iter().filter(|s| s.name.starts_with(name)).count();
                        found.push(Snippet {
                            name: format!("{name}_{}", count + 1),
                            file: file.to_owned(),
                            code: String::new(),
                        });
                    }
                    Some(wanted)
                }
            };
        } else if open == Some(true) {
            // A hidden line.
            let line = match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(['[', '!']) => {
                    rest.strip_prefix(' ').unwrap_or(rest)
                }
                _ => line,
            };
            let snippet = found.last_mut().expect("it was begun");
            snippet.code.push_str(line);
            snippet.code.push('\n');
        }
    }
    found
}

/// A snippet as a module with a function that runs it.
fn module(snippet: &Snippet) -> String {
    let Snippet { name, file, code } = snippet;
    // The room of a feature.
    let features = [
        "grpc",
        "hedge",
        "endpoints",
        "resume",
        "peek",
        "redirect",
        "reqwest",
        "connection",
        "veto",
        "shadow",
        "telemetry",
    ];
    let stem = file.trim_start_matches("src/");
    let feature = features
        .iter()
        .find(|f| stem.starts_with(&format!("{f}/")) || stem == format!("{f}.rs"))
        .copied()
        .or_else(|| code.contains("reqwest").then_some("reqwest"))
        .unwrap_or("hyper");
    let function = ["run", "main"]
        .into_iter()
        .find(|f| code.contains(&format!("fn {f}(")))
        .unwrap_or_else(|| panic!("{file}: no function `run` or `main` to call"));
    let (head, parameters) = code
        .split_once(&format!("fn {function}("))
        .expect("it was found");
    // What it is given.
    let argument = match parameters.split_once(')') {
        Some(("client: RetryClient", _)) => "super::client()",
        Some(("url: &str", _)) => "super::here(\"http://example.com/\").as_str()",
        _ => "",
    };
    let wait = if head.ends_with("async ") {
        ".await"
    } else {
        ""
    };
    let path = if head.contains("mod snippet {") {
        "snippet::"
    } else {
        ""
    };
    let code = code.replace(
        &format!("async fn {function}("),
        &format!("pub async fn {function}("),
    );
    let code = code
        .lines()
        .filter(|line| line.trim() != "#[tokio::main]")
        .collect::<Vec<_>>()
        .join("\n");
    format!(
        "#[cfg(feature = {feature:?})]\npub mod {name} {{\nuse super::println;\n{code}\npub async fn snippet() -> Result<(), super::Failure> {{\n    {path}{function}({argument}){wait}.map_err(|e| e.to_string())?;\n    Ok(())\n}}\n}}\n",
        code = redirected(&code),
    )
}

/// The code with its URLs in the hands of whoever runs it.
fn redirected(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find('"') {
        let (before, from) = rest.split_at(at);
        let end = from[1..].find('"').expect("a literal ends") + 2;
        let literal = &from[..end];
        out.push_str(before);
        if literal.starts_with("\"http://") || literal.starts_with("\"https://") {
            let _ = write!(out, "&*super::here({literal})");
        } else {
            out.push_str(literal);
        }
        rest = &from[end..];
    }
    out.push_str(rest);
    out
}
