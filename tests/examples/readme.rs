//! The README: that it is short, and that its links and pictures lead somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README")
}

/// What stands in the round brackets of its links and pictures.
fn targets(text: &str) -> Vec<String> {
    let of_link = |rest: &str| rest.split_once(')').map(|(target, _)| target.to_owned());
    text.split("](").skip(1).filter_map(of_link).collect()
}

#[test]
fn it_fits_on_three_screens() {
    let lines = readme().lines().count();
    assert!(lines <= 150, "{lines} lines");
}

#[test]
fn its_links_lead_somewhere() {
    let text = readme();
    let targets = targets(&text);
    assert!(targets.len() > 15, "{targets:?}");
    for target in targets {
        assert!(root().join(&target).is_file(), "{target}");
    }
    // Those to the hosted documentation are to pages of the guide.
    let hosted = "https://docs.rs/tower-http-retry/latest/tower_http_retry/guide/";
    let pages: Vec<_> = text.split(hosted).skip(1).collect();
    assert!(pages.len() >= 3, "{pages:?}");
    for page in pages {
        let page = page.split("index.html").next().expect("a page");
        let file = format!("src/guide/{}.rs", page.trim_end_matches('/'));
        assert!(page.is_empty() || root().join(&file).is_file(), "{file}");
    }
}

/// In the package there are no examples and no showcase, but a folder of pictures.
#[test]
fn its_pictures_are_in_the_package_and_those_of_the_runs() {
    let text = readme();
    let pictures: Vec<_> = text.lines().filter(|line| line.starts_with("![")).collect();
    assert_eq!(pictures.len(), 3);
    for picture in pictures {
        for target in targets(picture) {
            assert!(target.starts_with("pictures/"), "{target}");
        }
    }
    for plot in ["outage.svg", "tail.svg"] {
        let ours = words(&root().join("pictures").join(plot));
        assert!(ours.len() > 5, "{plot}: {ours:?}");
        // What is measured differs a little from version to version.
        let drawn = words(&root().join("showcase/plots").join(plot));
        assert_eq!(ours, drawn, "cp showcase/plots/{plot} pictures/");
    }
}

/// The texts of a picture, without their numbers.
fn words(picture: &Path) -> BTreeSet<String> {
    let picture = fs::read_to_string(picture).expect("a picture");
    let texts = picture.split('<').filter_map(|part| part.split_once('>'));
    let number = |c: char| c.is_ascii_digit() || c == '.';
    let words = texts.map(|(_, text)| text.trim().replace(number, ""));
    words.filter(|text| !text.is_empty()).collect()
}

/// Each example of the table is run: those of the library by these tests, those of `clients/` by a
/// step that runs all that are there.
#[test]
fn its_examples_are_run() {
    let tests = include_str!("small.rs");
    let mut counted = 0;
    for target in targets(&readme()) {
        let Some(name) = target.strip_suffix(".rs") else {
            continue;
        };
        counted += 1;
        match name.strip_prefix("examples/") {
            Some(name) => assert!(tests.contains(&format!("example(\"{name}\")")), "{name}"),
            None => assert!(name.starts_with("clients/examples/"), "{name}"),
        }
    }
    assert!(counted >= 13, "{counted} examples");
}
