//! The report must not drift from the source: every excerpt, link, row and promise is held against it.
//!
//! The rules for authors stand in `report/README.md`. Each rule is a function from a text to complaints, so
//! that it can be tried on texts that break it: the second half of this file does that.
//! `UPDATE_REPORT=1` writes excerpts that differ again instead of complaining about them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use proc_macro2::Span;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use similar::TextDiff;
use syn::spanned::Spanned;

/// How many ideas each of the five sources has: A1 to A12, B1 to B8, and so on.
const SOURCES: [(char, usize); 5] = [('A', 12), ('B', 8), ('C', 9), ('D', 11), ('E', 9)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and every page of the report: path from the project's root, and text.
fn pages() -> Vec<(PathBuf, String)> {
    let report = fs::read_dir(root().join("report")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = report.filter(|path| path.extension() == Some("md".as_ref())).collect();
    paths.sort();
    paths.push(root().join("README.md"));
    let page = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.strip_prefix(root()).unwrap().to_owned(), text)
    };
    paths.into_iter().map(page).collect()
}

fn parse(text: &str) -> pulldown_cmark::OffsetIter<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter()
}

#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

// Excerpts.

#[test]
fn every_excerpt_is_what_the_source_says() {
    let mut complaints = Vec::new();
    for (path, text) in pages() {
        let checked = check_excerpts(root(), &path, &text);
        complaints.extend(checked.broken);
        if env::var_os("UPDATE_REPORT").is_none() {
            complaints.extend(checked.differing);
        } else if checked.updated != text {
            fs::write(root().join(&path), checked.updated).unwrap();
        }
    }
    none(&complaints);
}

/// What became of a page's excerpts.
#[derive(Default)]
struct Checked {
    /// The page with every excerpt as the source has it.
    updated: String,
    /// A diff for each excerpt that is out of date.
    differing: Vec<String>,
    /// What no update mends.
    broken: Vec<String>,
}

fn check_excerpts(root: &Path, page: &Path, text: &str) -> Checked {
    let mut checked = Checked { updated: text.to_owned(), ..Checked::default() };
    let mut comment = None;
    // Where a block begins that is to be written again, where it ends, and what is to stand there.
    let mut news = Vec::new();
    for (event, range) in parse(text) {
        let line = text[..range.start].lines().count() + 1;
        let at = format!("{}:{line}", page.display());
        match event {
            Event::Html(html) if html.trim_start().starts_with("<!-- excerpt") => {
                comment = Some(html.trim().to_owned());
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => match comment.take() {
                None if &*language == "rust" => checked
                    .broken
                    .push(format!("{at}: Rust without `<!-- excerpt: FILE SYMBOL -->` above it")),
                None => {}
                Some(comment) => match excerpt(root, &comment) {
                    Err(e) => checked.broken.push(format!("{at}: {comment}: {e}")),
                    Ok(source) => {
                        let block = &text[range.clone()];
                        let start = range.start + block.find('\n').unwrap() + 1;
                        let end = range.start + block.trim_end().rfind('\n').unwrap() + 1;
                        if text[start..end] != source {
                            let diff = TextDiff::from_lines(&text[start..end], &source);
                            let diff = diff.unified_diff().header("report", "source").to_string();
                            checked.differing.push(format!(
                                "{at}: {comment} differs; scripts/report.sh writes it again\n{diff}"
                            ));
                            news.push((start..end, source));
                        }
                    }
                },
            },
            // The end of the comment's own block.
            Event::End(TagEnd::HtmlBlock) => {}
            _ => {
                if let Some(comment) = comment.take() {
                    checked.broken.push(format!("{at}: {comment}: no fenced block directly below"));
                }
            }
        }
    }
    if let Some(comment) = comment {
        checked.broken.push(format!("{}: {comment}: no fenced block directly below", page.display()));
    }
    for (range, source) in news.into_iter().rev() {
        checked.updated.replace_range(range, &source);
    }
    checked
}

/// The source that `<!-- excerpt: FILE SYMBOL -->` names, or `<!-- excerpt: FILE SYMBOL without docs -->`.
fn excerpt(root: &Path, comment: &str) -> Result<String, String> {
    let words = comment.strip_prefix("<!-- excerpt:").and_then(|rest| rest.strip_suffix("-->"));
    let words: Vec<&str> = words.unwrap_or_default().split_whitespace().collect();
    let (file, symbol, docs) = match words[..] {
        [file, symbol] => (file, symbol, true),
        [file, symbol, "without", "docs"] => (file, symbol, false),
        _ => {
            return Err(
                "write `<!-- excerpt: FILE SYMBOL -->` or `<!-- excerpt: FILE SYMBOL without docs -->`"
                    .into(),
            );
        }
    };
    let source = fs::read_to_string(root.join(file)).map_err(|e| format!("{file}: {e}"))?;
    let (first, last) = find(&symbols(&source)?, symbol)?;
    let lines: Vec<&str> = source.lines().collect();
    let wanted = |line: &&&str| docs || !line.trim_start().starts_with("///");
    let lines: Vec<&str> = lines[first - 1..last].iter().filter(wanted).copied().collect();
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let margin = lines.iter().filter(|line| !line.is_empty()).map(indent).min().unwrap_or(0);
    Ok(lines.iter().map(|line| format!("{}\n", line.get(margin..).unwrap_or_default())).collect())
}

// Symbols.

/// A symbol's name with what it belongs to (`Book::serve`), and its first and last line, counted from 1.
type Symbols = BTreeMap<String, Vec<(usize, usize)>>;

/// Every symbol of a file. Methods and variants are named after their type, what stands in a module
/// after the module.
fn symbols(source: &str) -> Result<Symbols, String> {
    let file = syn::parse_file(source).map_err(|e| e.to_string())?;
    let mut symbols = Symbols::new();
    collect(&file.items, "", &mut symbols);
    Ok(symbols)
}

fn collect(items: &[syn::Item], prefix: &str, symbols: &mut Symbols) {
    let mut add = |name: String, at: Span| {
        symbols.entry(format!("{prefix}{name}")).or_default().push((at.start().line, at.end().line));
    };
    for item in items {
        match item {
            syn::Item::Const(it) => add(it.ident.to_string(), it.span()),
            syn::Item::Static(it) => add(it.ident.to_string(), it.span()),
            syn::Item::Struct(it) => add(it.ident.to_string(), it.span()),
            syn::Item::Type(it) => add(it.ident.to_string(), it.span()),
            syn::Item::Fn(it) => add(it.sig.ident.to_string(), it.span()),
            syn::Item::Enum(it) => {
                add(it.ident.to_string(), it.span());
                for variant in &it.variants {
                    add(format!("{}::{}", it.ident, variant.ident), variant.span());
                }
            }
            syn::Item::Trait(it) => {
                add(it.ident.to_string(), it.span());
                for member in &it.items {
                    if let syn::TraitItem::Fn(method) = member {
                        add(format!("{}::{}", it.ident, method.sig.ident), method.span());
                    }
                }
            }
            syn::Item::Impl(it) => {
                let syn::Type::Path(of) = &*it.self_ty else { continue };
                let Some(of) = of.path.segments.last().map(|segment| &segment.ident) else { continue };
                for member in &it.items {
                    match member {
                        syn::ImplItem::Fn(method) => {
                            add(format!("{of}::{}", method.sig.ident), method.span())
                        }
                        syn::ImplItem::Const(it) => add(format!("{of}::{}", it.ident), it.span()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    for item in items {
        if let syn::Item::Mod(syn::ItemMod { ident, content: Some((_, items)), .. }) = item {
            collect(items, &format!("{prefix}{ident}::"), symbols);
        }
    }
}

/// Where a symbol stands: by its whole name, or by the end of it where only one has that.
fn find(symbols: &Symbols, name: &str) -> Result<(usize, usize), String> {
    let ends = format!("::{name}");
    let whole: Vec<_> = symbols.get_key_value(name).into_iter().collect();
    let by_end = || symbols.iter().filter(|(symbol, _)| symbol.ends_with(&ends)).collect();
    let found: Vec<_> = if whole.is_empty() { by_end() } else { whole };
    match found[..] {
        [] => Err(format!("there is no `{name}`")),
        [(_, places)] if places.len() == 1 => Ok(places[0]),
        _ => {
            let found: Vec<&str> = found.iter().map(|(symbol, _)| symbol.as_str()).collect();
            Err(format!("`{name}` is not one symbol: {}", found.join(", ")))
        }
    }
}

// Messages.

#[test]
fn every_message_is_in_the_chapter_on_the_wire() {
    let rooms = ["message/manager.rs", "message/peers.rs", "admission.rs"];
    let sources = rooms.map(|room| fs::read_to_string(root().join("src/net").join(room)).unwrap());
    let chapter = fs::read_to_string(root().join("report/a-messages.md")).unwrap();
    none(&check_messages(&sources, &chapter));
}

/// Each variant of the enums of messages is in a table whose first column is called `message`, once
/// for each enum in which it occurs.
fn check_messages(sources: &[impl AsRef<str>], chapter: &str) -> Vec<String> {
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for name in sources.iter().flat_map(|source| symbols(source.as_ref()).unwrap().into_keys()) {
        let directions = ["ToManager::", "FromManager::", "ToPeer::", "FromPeer::", "Handshake::"];
        // A variant, and no method; `Other` stands for messages of other enums.
        if let Some(variant) = directions.iter().find_map(|direction| name.strip_prefix(direction))
            && variant.starts_with(char::is_uppercase)
            && variant != "Other"
        {
            *expected.entry(variant.to_lowercase()).or_default() += 1;
        }
    }
    let rows = rows(chapter, "message");
    let complaint = |(message, times): (String, usize)| {
        let found = rows.iter().filter(|row| row.id == message).count();
        (found != times).then(|| format!("`{message}` has {found} rows in report/a-messages.md and not {times}"))
    };
    expected.into_iter().filter_map(complaint).collect()
}

// Links.

#[test]
fn every_link_leads_somewhere() {
    let complaints =
        pages().iter().flat_map(|(path, text)| check_links(root(), path, text)).collect::<Vec<_>>();
    none(&complaints);
}

#[test]
fn every_chapter_is_in_the_table_of_contents() {
    let pages = pages();
    let (_, contents) = pages.iter().find(|(path, _)| path == Path::new("report/README.md")).unwrap();
    let linked: BTreeSet<String> = links(contents).into_iter().map(|(_, target)| target).collect();
    for (path, _) in &pages {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || linked.contains(name), "report/README.md does not link to {name}");
    }
}

/// Links and images: where each stands, and where it leads.
fn links(text: &str) -> Vec<(usize, String)> {
    let target = |(event, range): (Event<'_>, std::ops::Range<usize>)| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some((range.start, dest_url.into_string()))
        }
        _ => None,
    };
    parse(text).filter_map(target).collect()
}

fn check_links(root: &Path, page: &Path, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (offset, target) in links(text) {
        if target.contains("://") {
            continue;
        }
        let (file, anchor) = target.split_once('#').map_or((&*target, None), |(file, a)| (file, Some(a)));
        let linked = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
        let wrong = match root.join(&linked).canonicalize() {
            Err(e) => Some(e.to_string()),
            Ok(path) if !path.starts_with(root.canonicalize().unwrap()) => {
                Some("it leaves the project".into())
            }
            Ok(path) => anchor.and_then(|anchor| {
                let headings = fs::read_to_string(path).map(|text| anchors(&text)).unwrap_or_default();
                (!headings.contains(anchor)).then(|| format!("no such heading among {headings:?}"))
            }),
        };
        if let Some(wrong) = wrong {
            let line = text[..offset].lines().count().max(1);
            complaints.push(format!("{}:{line}: the link to {target}: {wrong}", page.display()));
        }
    }
    complaints
}

/// The anchors of a page's headings, as hosting sites make them: small letters, hyphens for spaces, no
/// punctuation; a number after the second of two equal ones.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for (event, _) in parse(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
                let anchor: String = heading.take().unwrap().to_lowercase().chars().filter(kept).collect();
                let anchor = anchor.replace(' ', "-");
                let mut unique = anchor.clone();
                for n in 1.. {
                    if anchors.insert(unique) {
                        break;
                    }
                    unique = format!("{anchor}-{n}");
                }
            }
            _ => {}
        }
    }
    anchors
}

// The table of the sources' ideas.

#[test]
fn every_row_names_what_exists() {
    let text = fs::read_to_string(root().join("report/README.md")).unwrap();
    none(&check_rows(root(), &text));
}

/// The table whose first column is called `row`: its last column names files and, after each `.rs` file,
/// symbols in it. Every idea is in that table, or in the paragraph that begins with `Later:`, once.
fn check_rows(root: &Path, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for row in rows(text, "row") {
        let mut file: Option<(String, Symbols)> = None;
        let mut named = 0;
        for name in &row.names {
            if name.contains('/') {
                let source = fs::read_to_string(root.join(name)).map_err(|e| e.to_string());
                let source = source.and_then(|source| match name.ends_with(".rs") {
                    true => symbols(&source).map(|symbols| file = Some((name.clone(), symbols))),
                    false => {
                        named += 1;
                        Ok(())
                    }
                });
                complaints.extend(source.err().map(|e| format!("row {}: {name}: {e}", row.id)));
            } else if let Some((file, symbols)) = &file {
                named += 1;
                complaints.extend(find(symbols, name).err().map(|e| format!("row {}: {file}: {e}", row.id)));
            } else {
                complaints.push(format!("row {}: `{name}` before any file", row.id));
            }
        }
        if named == 0 {
            complaints.push(format!("row {}: it names nothing that does it", row.id));
        }
        seen.push(row.id);
    }
    let later =
        text.lines().skip_while(|line| !line.starts_with("Later:")).take_while(|line| !line.is_empty());
    let words = later.flat_map(|line| line.split(|c: char| !c.is_alphanumeric()));
    let is_id = |word: &&str| word.len() > 1 && word[1..].bytes().all(|b| b.is_ascii_digit());
    seen.extend(words.filter(is_id).map(str::to_owned));
    for (source, count) in SOURCES {
        for n in 1..=count {
            let id = format!("{source}{n}");
            match seen.iter().filter(|seen| **seen == id).count() {
                1 => {}
                times => complaints.push(format!("{id} is there {times} times")),
            }
        }
    }
    complaints
}

// Promises.

#[test]
fn every_promise_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let tests: String = ["src", "tests"].iter().flat_map(|dir| sources(&root().join(dir))).collect();
    for table in ["promise", "goal"] {
        assert!(!rows(&text, table).is_empty(), "README.md has no table of each {table}");
        none(&check_promises(&text, table, &tests));
    }
}

/// Every row of this table names what holds it, and each of these is a test among `tests`.
fn check_promises(text: &str, table: &str, tests: &str) -> Vec<String> {
    let tests: BTreeSet<&str> = tests
        .split("#[test]")
        .skip(1)
        .filter_map(|test| test.split_once("fn ")?.1.split_once('('))
        .map(|(name, _)| name)
        .collect();
    let complaint = |row: Row| {
        let none = row.names.is_empty().then(|| "at all".to_owned());
        let missing = row.names.into_iter().filter(|name| !tests.contains(&**name)).chain(none);
        missing.map(|name| format!("there is no test {name} for: {}", row.id)).collect::<Vec<_>>()
    };
    rows(text, table).into_iter().flat_map(complaint).collect()
}

/// The text of every Rust file in a folder, and below it.
fn sources(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false if path.extension().is_some_and(|ending| ending == "rs") => {
            vec![fs::read_to_string(path).unwrap()]
        }
        false => Vec::new(),
    };
    entries.flat_map(read).collect()
}

/// A row of a table.
struct Row {
    /// Its first column.
    id: String,
    /// What the last column names.
    names: Vec<String>,
}

/// The rows of the tables whose first column is called `name`.
fn rows(text: &str, name: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    // The words of each cell, and what in it is set as code.
    let mut cells: Vec<(String, Vec<String>)> = Vec::new();
    let mut wanted = false;
    for (event, _) in parse(text) {
        match event {
            Event::Start(Tag::TableHead | Tag::TableRow) => cells.clear(),
            Event::Start(Tag::TableCell) => cells.push(Default::default()),
            Event::Text(text) => cells.last_mut().into_iter().for_each(|cell| cell.0.push_str(&text)),
            Event::Code(code) => {
                if let Some(cell) = cells.last_mut() {
                    cell.0.push_str(&code);
                    cell.1.push(code.to_string());
                }
            }
            Event::End(TagEnd::TableHead) => wanted = cells[0].0 == name,
            Event::End(TagEnd::TableRow) if wanted => {
                let names = cells.pop().unwrap().1;
                rows.push(Row { id: cells[0].0.clone(), names });
            }
            _ => {}
        }
    }
    rows
}

/// Each rule, tried on texts that keep it and texts that break it.
mod the_rules {
    use super::*;

    const SOURCE: &str = r#"//! A file.
/// A desk.
#[derive(Debug)]
pub struct Desk;

impl Desk {
    /// Takes "}" and '{'.
    ///
    /// Or not.
    pub fn take(&self) -> &str {
        // Not `}`.

        "}"
    }
    fn twice() {}
}

enum Kind {
    /// One.
    One { a: u32 },
    Two,
}

const MANY: [u8; 2] = [
    1, 2,
];

fn twice() {}

struct Other;
impl Other {
    fn give() {}
}
impl Drop for Desk {
    fn drop(&mut self) {}
}
impl Drop for Other {
    fn drop(&mut self) {}
}
mod tests {
    fn give() {}
}
"#;

    fn project() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        fs::create_dir(dir.path().join("report")).unwrap();
        fs::write(dir.path().join("src/a.rs"), SOURCE).unwrap();
        fs::write(dir.path().join("report/b.md"), "# Head: the *first*\n\n## Twice\n\n## Twice\n").unwrap();
        dir
    }

    fn checked(text: &str) -> Checked {
        check_excerpts(project().path(), Path::new("report/c.md"), text)
    }

    fn block(symbol: &str, code: &str) -> String {
        format!("Text.\n\n<!-- excerpt: src/a.rs {symbol} -->\n```rust\n{code}```\n\nMore `text`.\n")
    }

    #[track_caller]
    fn is(symbol: &str, code: &str) {
        let checked = checked(&block(symbol, code));
        none(&[checked.differing, checked.broken].concat());
    }

    #[test]
    fn an_excerpt_is_a_whole_symbol_without_its_indentation() {
        is("Desk", "/// A desk.\n#[derive(Debug)]\npub struct Desk;\n");
        is("Desk without docs", "#[derive(Debug)]\npub struct Desk;\n");
        let take = "pub fn take(&self) -> &str {\n    // Not `}`.\n\n    \"}\"\n}\n";
        is("Desk::take without docs", take);
        is("take without docs", take);
        is("take", &format!("/// Takes \"}}\" and '{{'.\n///\n/// Or not.\n{take}"));
        is("Kind::One", "/// One.\nOne { a: u32 },\n");
        is("MANY", "const MANY: [u8; 2] = [\n    1, 2,\n];\n");
        is("twice", "fn twice() {}\n");
        is("Desk::twice", "fn twice() {}\n");
        is("Other::drop", "fn drop(&mut self) {}\n");
        is("tests::give", "fn give() {}\n");
    }

    #[test]
    fn an_excerpt_that_differs_is_shown_as_a_diff_and_can_be_updated() {
        let good = block(
            "Desk::take without docs",
            "pub fn take(&self) -> &str {\n    // Not `}`.\n\n    \"}\"\n}\n",
        );
        for wrong in [
            good.replace("&str", "&String"),
            good.replace("    // Not `}`.\n", ""),
            good.replace("\n\n    \"", "\n    \""),
            good.replace("    //", "   //"),
            block("Desk::take without docs", ""),
        ] {
            let checked = checked(&wrong);
            assert_eq!((checked.differing.len(), checked.broken.len()), (1, 0), "{wrong}");
            assert_eq!(checked.updated, good);
        }
        let diff = &checked(&good.replace("&str", "&String")).differing[0];
        assert!(diff.contains("report/c.md:4: "), "{diff}");
        assert!(
            diff.contains("\n-pub fn take(&self) -> &String {\n+pub fn take(&self) -> &str {\n"),
            "{diff}"
        );
    }

    #[test]
    fn two_excerpts_that_differ_are_both_updated() {
        let page = |a, b| block("MANY", a) + &block("Desk::twice", b);
        let checked = checked(&page("const MANY: [u8; 0] = [];\n", "fn twice() { }\n"));
        assert_eq!(checked.differing.len(), 2);
        assert_eq!(checked.updated, page("const MANY: [u8; 2] = [\n    1, 2,\n];\n", "fn twice() {}\n"));
    }

    #[test]
    fn an_excerpt_of_nothing_is_named() {
        for (text, complaint) in [
            (block("Nothing", ""), "there is no `Nothing`"),
            (block("drop", ""), "`drop` is not one symbol: Desk::drop, Other::drop"),
            (block("give", ""), "`give` is not one symbol"),
            (block("", ""), "write `<!-- excerpt: FILE SYMBOL -->`"),
            (block("Desk with docs", ""), "write `<!-- excerpt: FILE SYMBOL -->`"),
            (block("Desk", "").replace("a.rs", "b.rs"), "src/b.rs: "),
            (block("Desk", "").replace("<!-- excerpt: src/a.rs Desk -->", ""), "Rust without"),
            (block("Desk", "").replace("-->\n", "-->\n\nText\n\n"), "no fenced block directly below"),
            ("<!-- excerpt: src/a.rs Desk -->\n".into(), "no fenced block directly below"),
        ] {
            let broken = checked(&text).broken;
            assert!(broken.iter().any(|broken| broken.contains(complaint)), "{text}\n{broken:?}");
        }
    }

    #[test]
    fn a_message_has_a_row_for_each_direction() {
        let sources =
            ["enum ToManager { Ok {}, State {} }", "enum FromManager { State(u8) } enum Other { No }"];
        let table = |messages: &[&str]| {
            let rows: String = messages.iter().map(|message| format!("| `{message}` | why |\n")).collect();
            format!("| message | why |\n|---|---|\n{rows}\n\n| code | why |\n|---|---|\n| `ok` | no |\n")
        };
        none(&check_messages(&sources, &table(&["ok", "state", "state"])));
        assert_eq!(check_messages(&sources, &table(&["ok", "state"])).len(), 1);
        assert_eq!(check_messages(&sources, &table(&["state", "state"])).len(), 1);
    }

    #[test]
    fn a_link_leads_to_a_file_and_a_heading() {
        let project = project();
        let check = |text: &str| check_links(project.path(), Path::new("report/c.md"), text);
        none(&check(
            "[a](../src/a.rs), [b](b.md#head-the-first), [t](b.md#twice-1), [far](https://a.example/x)",
        ));
        none(&check("`[code](nowhere)`\n\n```text\n[more](nowhere)\n```\n"));
        fs::write(project.path().join("report/c.md"), "# Here").unwrap();
        none(&check("[here](#here)"));
        for wrong in [
            "[a](../src/b.rs)",
            "[a](src/a.rs)",
            "[b](b.md#head)",
            "[b](b.md#twice-2)",
            "![i](i.svg)",
            "[h](#there)",
            "[o](../..)",
            "[r]\n\n[r]: nowhere.md\n",
            "| a |\n|---|\n| [a](nowhere) |\n",
            "[a](../src/a.rs#L3)",
        ] {
            assert_eq!(check(wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_promise_names_tests_and_nothing_that_is_none() {
        let check = |named: &str| {
            let table = format!("| promise | tests |\n|---|---|\n| It holds. | {named} |\n");
            check_promises(&table, "promise", "#[test]\nfn it_holds() {}\nfn helper() {}\n")
        };
        none(&check("`it_holds`, and so it does"));
        assert_eq!(check("`it_holds`, `helper`"), ["there is no test helper for: It holds."]);
        assert_eq!(check("it_holds"), ["there is no test at all for: It holds."]);
    }

    #[test]
    fn a_row_names_a_file_and_what_is_in_it_and_every_idea_is_there_once() {
        let project = project();
        let all =
            || SOURCES.iter().flat_map(|(source, count)| (1..=*count).map(move |n| format!("{source}{n}")));
        let table = |row: &str, without: &[&str]| {
            let later: Vec<String> = all().filter(|id| !without.contains(&id.as_str())).collect();
            format!("| row | idea | where |\n|---|---|---|\n{row}\n\nLater: {}.\n", later.join(", "))
        };
        let check = |text: &str| check_rows(project.path(), text);
        none(&check(&table(
            "| A1 | an `idea` | [`src/a.rs`](x) `Desk`, `take`, and `report/b.md` |",
            &["A1"],
        )));
        for (text, complaint) in [
            (table("| A1 | idea | `src/a.rs` `Dusk` |", &["A1"]), "row A1: src/a.rs: there is no `Dusk`"),
            (table("| A1 | idea | `src/b.rs` `Desk` |", &["A1"]), "row A1: src/b.rs: "),
            (table("| A1 | idea | `scripts/b.sh` |", &["A1"]), "row A1: scripts/b.sh: "),
            (table("| A1 | idea | `src/a.rs` |", &["A1"]), "row A1: it names nothing"),
            (table("| A1 | idea | `Desk` |", &["A1"]), "row A1: `Desk` before any file"),
            (table("| A1 | idea | `src/a.rs` `Desk` |", &[]), "A1 is there 2 times"),
            (table("| A1 | idea | `src/a.rs` `Desk` |", &["A1", "E9"]), "E9 is there 0 times"),
        ] {
            let complaints = check(&text);
            assert!(complaints.iter().any(|c| c.contains(complaint)), "{complaint}\n{complaints:?}");
        }
    }
}
