//! The report must not drift from the source: every excerpt, link, row and promise is held against it.
//!
//! The rules for authors stand in `report/README.md`. Each rule is a function from a text to complaints, so
//! that it can be tried on texts that break it: the second half of this file does that.
//! `UPDATE_REPORT=1` writes excerpts that differ again instead of complaining about them, and numbers.

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
        } else {
            let updated = with_its_numbers(root(), &checked.updated);
            if updated != text {
                fs::write(root().join(&path), updated).unwrap();
            }
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
        (found != times)
            .then(|| format!("`{message}` has {found} rows in report/a-messages.md and not {times}"))
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
    /// The words of each column.
    cells: Vec<String>,
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
                let names = cells[cells.len() - 1].1.clone();
                let cells: Vec<String> = cells.drain(..).map(|(words, _)| words).collect();
                rows.push(Row { id: cells[0].clone(), names, cells });
            }
            _ => {}
        }
    }
    rows
}

// Transcripts.

/// `scripts/report.sh --check` runs the commands again, and names the folder with what they print now.
#[test]
fn every_transcript_is_what_its_command_prints() {
    let again = env::var_os("REPORT_AGAIN").map(PathBuf::from);
    let mut complaints = Vec::new();
    for (path, text) in pages() {
        let now = again.as_ref().map(|again| fs::read_to_string(again.join(&path)).unwrap());
        complaints.extend(check_transcripts(root(), &path, &text, now.as_deref().unwrap_or(&text)));
    }
    none(&complaints);
}

#[test]
fn no_transcript_is_typed_by_hand() {
    none(&report().iter().flat_map(|(path, text)| check_typed(path, text)).collect::<Vec<_>>());
}

/// What stands between `<!-- transcript: COMMAND -->` and `<!-- end of transcript -->`.
struct Transcript<'a> {
    line: usize,
    command: &'a str,
    /// With its fences; `None` where nothing ends it.
    shown: Option<Vec<&'a str>>,
}

fn transcripts(text: &str) -> Vec<Transcript<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let begun = lines.iter().enumerate().filter_map(|(at, line)| {
        let command = line.strip_prefix("<!-- transcript: ")?.strip_suffix(" -->")?;
        let rest = &lines[at + 1..];
        let end = rest.iter().position(|line| *line == "<!-- end of transcript -->");
        Some(Transcript { line: at + 1, command, shown: end.map(|end| rest[..end].to_vec()) })
    });
    begun.collect()
}

/// Every transcript has an end and a script of the project, and differs from what the script prints now by no more
/// than it may.
fn check_transcripts(root: &Path, page: &Path, text: &str, now: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (written, printed) in transcripts(text).into_iter().zip(transcripts(now)) {
        let at = format!("{}:{}: the transcript of `{}`", page.display(), written.line, written.command);
        let script = written.command.split(' ').next().unwrap_or_default();
        if !script.starts_with("scripts/") || !root.join(script).is_file() {
            complaints.push(format!("{at}: there is no script {script}"));
        }
        let Some(shown) = written.shown else {
            complaints.push(format!("{at} has no `<!-- end of transcript -->`"));
            continue;
        };
        if shown.first() != Some(&"```text") || shown.last() != Some(&"```") {
            complaints.push(format!("{at} is no block of text; scripts/report.sh writes it"));
        }
        let (shown, printed) = (loosened(&shown), loosened(&printed.shown.unwrap_or_default()));
        if shown != printed {
            let diff = TextDiff::from_lines(&shown, &printed);
            let diff = diff.unified_diff().header("report", "printed now").to_string();
            complaints.push(format!("{at} differs; scripts/report.sh writes it again\n{diff}"));
        }
    }
    complaints
}

/// A transcript without what may differ from run to run: see [`loosened_line`], and where long lines are folded. Lines
/// of programs that run beside, `[ada] ...`, come last, each once: when they come, and how often, differs.
fn loosened(shown: &[&str]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in shown {
        match lines.last_mut() {
            Some(last) if line.starts_with("    ") => last.push_str(line),
            _ => lines.push((*line).to_owned()),
        }
    }
    let (beside, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.starts_with('['));
    let beside: BTreeSet<_> = beside.iter().map(|line| loosened_line(line)).collect();
    let mut lines: Vec<String> = lines.iter().map(|line| loosened_line(line)).collect();
    // How often a progress is shown differs.
    lines.dedup_by(|line, before| line == before && line.starts_with("# %"));
    lines.into_iter().chain(beside).map(|line| line + "\n").collect()
}

/// A line with a `#` for each number and for what else may differ: times, ports, ids, rates, days, the unit of a
/// size. Spaces do not count, nor the order of a list, nor the words for how a connection broke.
fn loosened_line(line: &str) -> String {
    let broke =
        [" is not asked any more: ", " must be done again: "].into_iter().find_map(|words| line.find(words));
    let line = &line[..broke.unwrap_or(line.len())];
    let mut tokens: Vec<&str> = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()).max(first.len_utf8());
        let (token, behind) = rest.split_at(if first.is_alphanumeric() { word } else { first.len_utf8() });
        // Of a long key only both ends are shown.
        let cut = behind.starts_with("...") || tokens.ends_with(&["#", ".", ".", "."]);
        if varies(token, cut) {
            // `127.0.0.1:7000` is one number, and so is `1.5`.
            let digits = tokens.iter().rposition(|token| !matches!(*token, "." | ":" | ","));
            if let Some(digits) = digits.filter(|&at| tokens[at] == "#") {
                tokens.truncate(digits);
            }
            tokens.push("#");
        } else {
            tokens.push(match token {
                "KiB" | "MiB" | "GiB" => "B",
                "ms" | "µs" => "s",
                token => token,
            });
        }
        rest = behind.trim_start();
    }
    sort_lists(&mut tokens);
    tokens.join(" ")
}

/// Sorts the lists in a line, `at ada, ben`, `ada 3, ben 4` or `3 at ada, 4 at ben`: which is first may differ.
fn sort_lists(tokens: &mut [&str]) {
    let is_name = |word: &str| word.starts_with(char::is_alphabetic);
    for shape in [&["name"][..], &["name", "#"], &["#", "at", "name"]] {
        let fits = |item: &[&str]| {
            let mut words = shape.iter().zip(item);
            item.len() == shape.len() && words.all(|(is, word)| is == word || *is == "name" && is_name(word))
        };
        let mut begin = 0;
        while begin < tokens.len() {
            let item = |n: usize| begin + n * (shape.len() + 1);
            let mut length = 0;
            while tokens.get(item(length)..item(length) + shape.len()).is_some_and(fits)
                && (length == 0 || tokens[item(length) - 1] == ",")
            {
                length += 1;
            }
            if length < 2 {
                begin += 1;
                continue;
            }
            let list = &mut tokens[begin..item(length) - 1];
            let mut items: Vec<Vec<&str>> = list.split(|word| *word == ",").map(<[_]>::to_vec).collect();
            items.sort();
            list.copy_from_slice(&items.join(&","));
            begin = item(length);
        }
    }
}

/// Whether a word may be another in the next run, as a product may be M3 for M1; `cut` says that it is an end of a
/// longer one.
fn varies(word: &str, cut: bool) -> bool {
    const DAYS: &str = "Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let digit = word.bytes().any(|b| b.is_ascii_digit());
    let hex = word.len() >= 4 && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    word.bytes().all(|b| b.is_ascii_digit())
        || hex && (digit || cut)
        || DAYS.split(' ').any(|day| day == word)
        || matches!(word.as_bytes(), [b'M', b'1'..=b'7'])
}

/// Commands with what they print stand in transcripts. A block of commands alone has no `$` in front of them.
fn check_typed(page: &Path, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    // Whether this is in a transcript; and of the block, whether it was complained of.
    let (mut played, mut block) = (false, None);
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("<!-- transcript: ") {
            played = true;
        } else if line == "<!-- end of transcript -->" {
            played = false;
        } else if line.starts_with("```") {
            block = if block.is_none() { Some(false) } else { None };
        } else if line.starts_with("$ ") && !played && block == Some(false) {
            complaints.push(format!("{}:{}: typed by hand: {line}", page.display(), at + 1));
            block = Some(true);
        }
    }
    complaints
}

// Numbers.

#[test]
fn every_number_is_what_its_data_say() {
    none(&pages().iter().flat_map(|(path, text)| check_numbers(root(), path, text)).collect::<Vec<_>>());
}

/// Directly behind a number, or behind its unit: `<!-- data: FILE COLUMN=VALUE ... WHAT -->` names a table in
/// `report/data`, the rows that are meant, and what of them the number is. WHAT is `COLUMN`, `COLUMN/COLUMN` or
/// either times a number, `seconds*1000`. Before it stands, where there are several rows, `median`, `mean`, `least`,
/// `most`, `sum` or `count`. A ratio is `FILE COLUMN=VALUE ... WHAT over COLUMN=VALUE ... WHAT`. The number is the
/// value, rounded to the digits that are shown.
fn check_numbers(root: &Path, page: &Path, text: &str) -> Vec<String> {
    let checked = marks(text).filter_map(|(at, words, number)| {
        let no_number = || "no number stands directly before it, on the same line".to_owned();
        let agrees = number.ok_or_else(no_number).and_then(|number| agrees(number, value(root, &words)?));
        let line = text[..at].matches('\n').count() + 1;
        Some(format!("{}:{line}: <!-- data:{words}-->: {}", page.display(), agrees.err()?))
    });
    checked.collect()
}

/// Where each mark is, its words, and the number before it.
fn marks(text: &str) -> impl Iterator<Item = (usize, String, Option<&str>)> {
    parse(text).filter_map(|(event, range)| {
        let (html, inline) = match &event {
            Event::InlineHtml(html) => (html, true),
            Event::Html(html) => (html, false),
            _ => return None,
        };
        let (words, _) = html.trim().strip_prefix("<!-- data:")?.split_once("-->")?;
        Some((range.start, words.to_owned(), number_before(&text[..range.start]).filter(|_| inline)))
    })
}

/// A page with the numbers that its marks name, each with as many decimals as before.
fn with_its_numbers(root: &Path, text: &str) -> String {
    let mut updated = text.to_owned();
    for (_, words, number) in marks(text).collect::<Vec<_>>().into_iter().rev() {
        let (Some(number), Ok(value)) = (number, value(root, &words)) else { continue };
        if agrees(number, value).is_err() {
            let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            let begin = number.as_ptr() as usize - text.as_ptr() as usize;
            updated.replace_range(begin..begin + number.len(), &with_commas(&format!("{value:.decimals$}")));
        }
    }
    updated
}

/// A number of four digits and more before the point with a comma for the thousands.
fn with_commas(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let digit = |(at, digit): (usize, char)| {
        let comma = at > 0 && (whole.len() - at).is_multiple_of(3);
        [Some(',').filter(|_| comma), Some(digit)].into_iter().flatten().collect::<Vec<_>>()
    };
    whole.char_indices().flat_map(digit).chain(rest.chars()).collect()
}

/// The number at the end of a text, where no more than a unit stands behind it.
fn number_before(text: &str) -> Option<&str> {
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let begin = text[..end].rfind(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ','));
    let number = text[begin.map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8))..end]
        .trim_start_matches(['.', ',']);
    (text[end..].trim().chars().count() <= 12 && !text[end..].contains('\n')).then_some(number)
}

/// Whether a number in a text is this value, rounded to the digits that it shows.
fn agrees(number: &str, value: f64) -> Result<(), String> {
    let shown: f64 = number.replace(',', "").parse().map_err(|_| format!("{number} is not a number"))?;
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len() as i32);
    let half = 0.5 * 10_f64.powi(-decimals);
    // Half a digit may be rounded either way, and 0.125 is not what it seems.
    match (shown - value).abs() <= half * 1.000_001 {
        true => Ok(()),
        false => Err(format!("the text says {number}, the data {value}")),
    }
}

/// What the words of a mark name.
fn value(root: &Path, words: &str) -> Result<f64, String> {
    if let (Some((above, below)), Some(file)) = (words.split_once(" over "), words.split_whitespace().next())
    {
        return Ok(value(root, above)? / value(root, &format!("{file} {below}"))?);
    }
    let mut words: Vec<&str> = words.split_whitespace().collect();
    let what = words.pop().ok_or("it names no file")?;
    let file = *words.first().ok_or("it names no column")?;
    let how = words.pop_if(|word| word != &file && !word.contains('='));
    let table = fs::read_to_string(root.join("report/data").join(file))
        .map_err(|e| format!("report/data/{file}: {e}"))?;
    let mut rows = table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(','));
    let header: Vec<&str> = rows.next().ok_or("the file is empty")?.collect();
    let column = |name: &str| {
        let found = header.iter().position(|column| *column == name);
        found.ok_or_else(|| format!("{file} has no column {name}, but {}", header.join(", ")))
    };
    let mut rows: Vec<Vec<&str>> = rows.map(Iterator::collect).collect();
    for condition in &words[1..] {
        let (name, wanted) = condition.split_once('=').ok_or(format!("{condition} is not COLUMN=VALUE"))?;
        let at = column(name)?;
        rows.retain(|row| row.get(at) == Some(&wanted));
    }
    let (what, times) = what.split_once('*').unwrap_or((what, "1"));
    let times: f64 = times.parse().map_err(|_| format!("{times} is not a number"))?;
    let cell = |row: &[&str], name: &str| -> Result<f64, String> {
        let cell = row.get(column(name)?).copied().unwrap_or_default();
        cell.parse().map_err(|_| format!("{name} is no number, but {cell:?}"))
    };
    let of_row = |row: Vec<&str>| match what.split_once('/') {
        None => Ok(times * cell(&row, what)?),
        Some((above, below)) => Ok(times * cell(&row, above)? / cell(&row, below)?),
    };
    one_of(how, rows.into_iter().map(of_row).collect::<Result<_, String>>()?)
}

/// The one number that stands for the values of several rows.
fn one_of(how: Option<&str>, mut values: Vec<f64>) -> Result<f64, String> {
    values.sort_by(f64::total_cmp);
    match (how, &values[..]) {
        (Some("count"), values) => Ok(values.len() as f64),
        (_, []) => Err("there is no such row".into()),
        (None, [value]) => Ok(*value),
        (None, values) => Err(format!("{} rows fit: say which, or `median`", values.len())),
        (Some("least"), [least, ..]) => Ok(*least),
        (Some("most"), [.., most]) => Ok(*most),
        // Of an even number of runs the slower one in the middle.
        (Some("median"), values) => Ok(values[values.len() / 2]),
        (Some("sum"), values) => Ok(values.iter().sum()),
        (Some("mean"), values) => Ok(values.iter().sum::<f64>() / values.len() as f64),
        (Some(how), _) => Err(format!("{how}: write median, mean, least, most, sum or count")),
    }
}

// Decisions.

#[test]
fn the_rows_of_decide_are_those_of_the_source() {
    let source = fs::read_to_string(root().join("src/peer/replication/decide.rs")).unwrap();
    let chapters = ["7-healing", "8-deleting"].map(|name| root().join(format!("report/{name}.md")));
    let chapters: String = chapters.iter().map(|chapter| fs::read_to_string(chapter).unwrap()).collect();
    none(&check_decisions(&source, &chapters));
}

/// What lies on the disk and what is done about it, in pairs: those of the arms in `decide` are those of the tables
/// whose first column is called `on the disk`.
fn check_decisions(source: &str, chapters: &str) -> Vec<String> {
    let (_, decide) = source.split_once("fn decide(").unwrap_or(("", source));
    let arms = decide.lines().take_while(|line| *line != "}").filter_map(|line| {
        let (pattern, action) = line.trim().split_once(" => ")?;
        let disk = pattern.trim_start_matches('(').split([',', ' ', '(']).next()?;
        let disk = match disk {
            "_" => "anything",
            "Unreadable" => "a folder",
            "Nothing" | "Changing" | "Bytes" => disk,
            _ => return None,
        };
        Some(format!("{disk}: {}", action.split_once(',')?.0).to_lowercase())
    });
    let written = |action: &str| action.split(" (").next().unwrap_or_default().replace(' ', "");
    let of_row = |row: &Row| format!("{}: {}", row.id.split(',').next().unwrap(), written(&row.cells[3]));
    let arms: BTreeSet<String> = arms.collect();
    let rows: BTreeSet<String> = rows(chapters, "on the disk").iter().map(of_row).collect();
    let missing = arms.difference(&rows).map(|arm| format!("no row in chapters 7 and 8 is {arm}"));
    missing.chain(rows.difference(&arms).map(|row| format!("no arm of `decide` is {row}"))).collect()
}

// Pictures.

#[test]
fn the_states_in_a_picture_are_those_of_the_source() {
    for machine in ["lease", "peer", "piece"] {
        let picture =
            fs::read_to_string(root().join(format!("report/figures/states-{machine}.svg"))).unwrap();
        none(&check_states(root(), &picture));
    }
}

/// A picture of states says at its end from which file it is, "From FILE.", and at each state, `data-is="TYPE::NAME"`,
/// which variant or field of that file it is. Of an enum that is named, all variants are.
fn check_states(root: &Path, picture: &str) -> Vec<String> {
    let described = picture.split_once(".</desc>").and_then(|(text, _)| text.rsplit_once("From "));
    let Some((_, file)) = described else { return vec!["it does not say from which file it is".into()] };
    let source = fs::read_to_string(root.join(file)).map_err(|e| e.to_string());
    let items = source.and_then(|source| syn::parse_file(&source).map_err(|e| e.to_string()));
    let items = match items {
        Ok(file) => file.items,
        Err(e) => return vec![format!("{file}: {e}")],
    };
    let mut fields = BTreeSet::new();
    let mut variants = BTreeSet::new();
    for item in &items {
        match item {
            syn::Item::Struct(it) => {
                let names = it.fields.iter().filter_map(|field| field.ident.as_ref());
                fields.extend(names.map(|name| format!("{}::{name}", it.ident)));
            }
            syn::Item::Enum(it) => {
                variants.extend(it.variants.iter().map(|variant| format!("{}::{}", it.ident, variant.ident)));
            }
            _ => {}
        }
    }
    let of = |name: &str| name.split("::").next().unwrap().to_owned();
    let marked = picture.split("data-is=\"").skip(1);
    let named: BTreeSet<String> =
        marked.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
    let types: BTreeSet<String> = named.iter().map(|name| of(name)).collect();
    let bare = picture.lines().filter(|line| line.contains("class=\"state\"") && !line.contains("data-is="));
    let unknown = named.iter().filter(|name| !fields.contains(*name) && !variants.contains(*name));
    let missing = variants.iter().filter(|name| types.contains(&of(name)) && !named.contains(*name));
    (bare.map(|line| format!("it does not say what this is in {file}: {line}")))
        .chain(unknown.map(|name| format!("there is no {name} in {file}")))
        .chain(missing.map(|name| format!("{name} of {file} is not in the picture")))
        .collect()
}

// The frame.

#[test]
fn the_report_has_the_frame_of_a_report_twelve_idioms_and_two_sessions() {
    let headings = |page: &str| {
        let text = fs::read_to_string(root().join("report").join(page)).unwrap();
        let headings = text.lines().filter_map(|line| line.strip_prefix("## ").map(str::to_owned));
        headings.collect::<Vec<_>>()
    };
    let report = headings("README.md");
    let frame = [
        "Abstract",
        "How to read it",
        "Test environment",
        "Scenarios",
        "Results",
        "Conclusions",
        "References",
    ];
    let missing: Vec<_> = frame.iter().filter(|wanted| !report.iter().any(|it| it == *wanted)).collect();
    assert!(missing.is_empty(), "report/README.md has no {missing:?}");
    for (page, begins, count) in [("idioms.md", "", 12), ("lecturer.md", "Session ", 2)] {
        let numbers = headings(page).into_iter().filter_map(|heading| {
            heading.strip_prefix(begins)?.split(['.', ':']).next()?.parse::<usize>().ok()
        });
        assert!(numbers.eq(1..=count), "report/{page}: {begins}1 to {count}, in order");
    }
}

// What is read, and how much of it.

#[test]
fn every_source_file_is_reached_from_a_chapter() {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    let is_chapter = |path: &Path| number(path).is_some_and(|number| number.parse::<u32>().is_ok());
    let chapters: Vec<_> = report().into_iter().filter(|(path, _)| is_chapter(path)).collect();
    none(&check_reached(&files, &chapters));
}

#[test]
fn the_report_is_no_longer_than_a_class_can_read() {
    none(&check_length(&report()));
}

#[test]
fn every_question_has_its_minutes_and_its_answer() {
    none(&check_questions(&report()));
}

/// The pages of the report alone.
fn report() -> Vec<(PathBuf, String)> {
    pages().into_iter().filter(|(path, _)| path.starts_with("report")).collect()
}

/// Every file of the source, but for tests, has a link, an excerpt or a row.
fn check_reached(files: &[String], pages: &[(PathBuf, String)]) -> Vec<String> {
    let mut reached = BTreeSet::new();
    for (_, text) in pages {
        let linked = links(text).into_iter().map(|(_, target)| target.split('#').next().unwrap().to_owned());
        reached.extend(linked.map(|target| target.trim_start_matches("../").to_owned()));
        let excerpts = text.lines().filter_map(|line| line.strip_prefix("<!-- excerpt: ")?.split(' ').next());
        reached.extend(excerpts.map(str::to_owned));
        reached.extend(rows(text, "row").into_iter().flat_map(|row| row.names));
    }
    let is_test = |file: &str| file.contains("/tests/") || file.ends_with("tests.rs");
    let missing = files.iter().filter(|file| !is_test(file) && !reached.contains(*file));
    let mut complaints: Vec<_> = missing.map(|file| format!("no chapter leads to {file}")).collect();
    complaints.sort();
    complaints
}

/// What a page is, by its name: chapter 3 is `3-leases.md`, appendix a is `a-messages.md`.
fn number(page: &Path) -> Option<&str> {
    let (number, _) = page.file_name()?.to_str()?.split_once('-')?;
    let is_number = number.bytes().all(|b| b.is_ascii_digit());
    (is_number || number.len() == 1 && number.bytes().all(|b| b.is_ascii_lowercase())).then_some(number)
}

/// How many words the chapters may have, the appendices, and all pages with everything in them. The last is the length
/// of the report before it had a lab, answers, charts and a frame (46,917), and 1,283 for chapter 11: what is new takes
/// the place of something.
const LENGTHS: [usize; 3] = [24_000, 9_000, 48_200];

fn check_length(report: &[(PathBuf, String)]) -> Vec<String> {
    let mut words = [0; 3];
    for (path, text) in report {
        // As `wc -w` counts, but for comments, which no reader sees.
        let shown = text.split("<!--").enumerate().map(|(n, part)| match (n, part.split_once("-->")) {
            (1.., Some((_, behind))) => behind,
            _ => part,
        });
        words[2] += shown.map(|part| part.split_whitespace().count()).sum::<usize>();
        if let Some(number) = number(path) {
            words[usize::from(number.starts_with(char::is_alphabetic))] +=
                prose(text).split_whitespace().count();
        }
    }
    let parts = ["the chapters", "the appendices", "all pages"];
    let long = parts.iter().zip(words).zip(LENGTHS).filter(|((_, words), most)| words > most);
    long.map(|((part, words), most)| format!("{part} have {words} words, {most} at most")).collect()
}

/// A page without its blocks of code, tables and comments.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut left_out = 0;
    for (event, _) in parse(text) {
        match event {
            Event::Start(Tag::CodeBlock(_) | Tag::Table(_)) => left_out += 1,
            Event::End(TagEnd::CodeBlock | TagEnd::Table) => left_out -= 1,
            Event::Text(text) | Event::Code(text) if left_out == 0 => prose.push_str(&text),
            Event::SoftBreak | Event::HardBreak => prose.push(' '),
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Item) => prose.push('\n'),
            _ => {}
        }
    }
    prose
}

/// The most questions that a report asks.
const QUESTIONS: usize = 40;

/// The numbered items below a heading "Exercises" or "Questions": the third of chapter 2 is 2.3.
fn questions(number: &str, text: &str) -> Vec<(String, String)> {
    let mut questions: Vec<(String, String)> = Vec::new();
    let (mut heading, mut asks) = (None, false);
    // How deep in lists, and the number of the next item where it is not nested.
    let (mut depth, mut next) = (0, None);
    for (event, _) in parse(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                asks = heading.take().is_some_and(|heading| ["Exercises", "Questions"].contains(&&*heading));
            }
            Event::Start(Tag::List(first)) => {
                depth += 1;
                if depth == 1 {
                    next = first;
                }
            }
            Event::End(TagEnd::List(_)) => depth -= 1,
            Event::Start(Tag::Item) if asks && depth == 1 => {
                if let Some(at) = &mut next {
                    questions.push((format!("{number}.{at}"), String::new()));
                    *at += 1;
                }
            }
            Event::Text(words) | Event::Code(words) => {
                heading.iter_mut().for_each(|heading| heading.push_str(&words));
                questions.last_mut().into_iter().filter(|_| asks).for_each(|(_, text)| text.push_str(&words));
            }
            _ => {}
        }
    }
    questions
}

/// There are no more questions than a class can work on; each says its minutes, "(10 min)", and has an answer, a
/// heading or bold words in `answers.md` that begin with its number.
fn check_questions(report: &[(PathBuf, String)]) -> Vec<String> {
    let asked = report.iter().filter_map(|(path, text)| Some(questions(number(path)?, text)));
    let asked: Vec<(String, String)> = asked.flatten().collect();
    let mut complaints = Vec::new();
    if asked.len() > QUESTIONS {
        complaints.push(format!("there are {} questions, {QUESTIONS} at most", asked.len()));
    }
    let minutes =
        |(before, _): (&str, &str)| before.rsplit_once('(').is_some_and(|(_, n)| n.parse::<u32>().is_ok());
    let answers = report.iter().find(|(path, _)| path.ends_with("answers.md")).map_or("", |(_, text)| text);
    let answers: BTreeSet<&str> = answers.lines().filter_map(answered).collect();
    for (number, text) in &asked {
        if !text.match_indices(" min)").any(|(at, _)| minutes(text.split_at(at))) {
            complaints.push(format!("question {number} does not say its minutes: (10 min)"));
        }
        if !answers.contains(&**number) {
            complaints.push(format!("question {number} has no answer in report/answers.md"));
        }
    }
    let numbers: BTreeSet<&str> = asked.iter().map(|(number, _)| &**number).collect();
    complaints.extend(answers.difference(&numbers).map(|number| format!("answer {number} has no question")));
    complaints
}

/// The number of the question that a line begins to answer.
fn answered(line: &str) -> Option<&str> {
    let marked = line.trim_start_matches([' ', '-']);
    let words = marked.trim_start_matches(['#', '*', ' ']);
    let first = words.split([' ', '*', ':']).next()?.trim_end_matches('.');
    let (page, question) = first.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_page = is_number(page) || page.len() == 1 && page.bytes().all(|b| b.is_ascii_lowercase());
    (marked.starts_with(['#', '*']) && is_page && is_number(question)).then_some(first)
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

    #[test]
    fn a_transcript_may_differ_in_numbers_and_in_nothing_else() {
        let page = |shown: &str| {
            format!(
                "<!-- transcript: scripts/a.sh one -->\n```text\n{shown}\n```\n<!-- end of transcript -->\n"
            )
        };
        let project = project();
        fs::create_dir(project.path().join("scripts")).unwrap();
        fs::write(project.path().join("scripts/a.sh"), "").unwrap();
        let check = |a: &str, b: &str| {
            check_transcripts(project.path(), Path::new("report/c.md"), &page(a), &page(b)).len()
        };
        for (a, b) in [
            ("in 0.148 s, 16.0 MiB at 127.0.0.1:33783", "in 12 ms, 900 KiB at 10.0.0.1:7"),
            ("ada        1    4", "ada 12 40"),
            (r#"{"id":"57a0a919","key":"68c6...bfac"}"#, r#"{"id":"203afdf8","key":"beef...0001"}"#),
            ("Date: Fri, 20 Nov 2026 19:55:03 GMT", "Date: Mon, 1 Dec 2027 00:00:00 GMT"),
            ("a line that is folded,\n    2 words later", "a line that is folded, 13 words later"),
            ("leased 7 slots: 3 at ada, 2 at ben, 2 at cyd", "leased 7 slots: 4 at cyd, 2 at ada, 1 at ben"),
            ("film.bin at gus, ida, hal; well", "film.bin at gus, hal, ida; well"),
            ("(ada 1, ben 4, cyd 2)", "(cyd 3, ada 2, ben 2)"),
            ("10 %\n20 %, 3 MiB/s\n30 %, 4 MiB/s\nthere", "9 %\n29 %, 800 KiB/s\nthere"),
            ("[joe] 10 %\n$ a\n[joe] 20 %\n[ida] is here", "[ida] is here\n[joe] 15 %\n$ a"),
            ("M1.7 must be done again: cyd", "M3.2 must be done again: cyd"),
            (
                "[joe] hal is not asked any more: it closed the connection",
                "[joe] hal is not asked any more: reset by peer (os error 104)",
            ),
        ] {
            assert_eq!(check(a, b), 0, "{a}\n{b}");
        }
        for (a, b) in [
            ("leased 7 slots", "leased 7 places"),
            ("a\na", "a"),
            ("a\nb", "a"),
            ("a\nb", "b\na"),
            ("3 at ada, 2 at ben", "3 at ada"),
            ("at ada, ben; cyd", "at ada, cyd; ben"),
            ("from ada 3 and ben 4", "from ben 3 and ada 4"),
            ("[joe] is done", "[joe] is not done"),
            (r#"{"lease":66}"#, r#"{"lease":"no"}"#),
            ("the face", "the fade"),
        ] {
            assert_eq!(check(a, b), 1, "{a}\n{b}");
        }
        let check =
            |text: &str| check_transcripts(project.path(), Path::new("report/c.md"), text, text).join("\n");
        assert_eq!(check(&page("")), "");
        for (text, complaint) in [
            (page("").replace("scripts/a", "scripts/b"), "there is no script scripts/b.sh"),
            (page("").replace("scripts/a", "a"), "there is no script a.sh"),
            (page("").replace("<!-- end", "<!-- and"), "has no `<!-- end of transcript -->`"),
            (page("").replace("```text", "```"), "is no block of text"),
        ] {
            assert!(check(&text).contains(complaint), "{text}\n{}", check(&text));
        }
    }

    #[test]
    fn a_command_with_what_it_prints_stands_in_a_transcript() {
        let check = |text: &str| check_typed(Path::new("c.md"), text);
        none(&check(
            "<!-- transcript: a.sh -->\n```text\n$ a\n```\n<!-- end of transcript -->\n\n```sh\na\n```\n",
        ));
        none(&check("$ a\n"));
        let typed = "```text\n$ a\nb\n$ c\n```\n";
        assert_eq!(check(typed), ["c.md:2: typed by hand: $ a"]);
        let played = format!("<!-- transcript: a.sh -->\n{typed}<!-- end of transcript -->\n");
        none(&check(&played));
        assert_eq!(check(&(played + typed)), ["c.md:9: typed by hand: $ a"]);
    }

    #[test]
    fn a_number_is_that_of_its_row() {
        let project = project();
        fs::create_dir_all(project.path().join("report/data")).unwrap();
        let table = "# by hand\nway,peers,seconds,bound\nswarm,1,3.992,4\nswarm,2,4.30,4\nswarm,2,4.34,4\nswarm,2,4.38,4\n\
                     alone,1,1234,0\nalone,2,,0\n";
        fs::write(project.path().join("report/data/d.csv"), table).unwrap();
        let check = |text: &str| {
            let text = text.replace('[', "<!-- data: d.csv ").replace(']', " -->");
            check_numbers(project.path(), Path::new("report/c.md"), &text)
        };
        for right in [
            "It took 3.99[way=swarm peers=1 seconds] seconds, or 4.0[way=swarm peers=1 seconds] of them.",
            "It took 3.99 s[way=swarm peers=1 seconds].",
            "It took **3,992 ms**[way=swarm peers=1 seconds*1000].",
            "| a |\n|---|\n| 4.34 s[way=swarm peers=2 median seconds] |\n",
            "A ratio of 1.085[way=swarm peers=2 median seconds/bound], 4.30[way=swarm peers=2 least seconds] to\n4.38[way=swarm \
             most seconds].",
            "99.8 %[way=swarm peers=1 seconds/bound*100]",
            "In 3[way=swarm peers=2 count seconds] runs 13.0[way=swarm peers=2 sum seconds] s, 4.34[way=swarm peers=2 mean seconds].",
            "1,234[way=alone peers=1 seconds]",
            "1.09 times[way=swarm peers=2 median seconds over way=swarm peers=1 seconds]",
            "`[no mark]`",
        ] {
            none(&check(right));
        }
        let marked = |text: &str| text.replace('[', "<!-- data: d.csv ").replace(']', " -->");
        let old = marked(
            "**3,000 ms**[way=swarm peers=1 seconds*1000], 9.9 s[way=swarm peers=1 seconds], 4[no mark]",
        );
        let new = marked(
            "**3,992 ms**[way=swarm peers=1 seconds*1000], 4.0 s[way=swarm peers=1 seconds], 4[no mark]",
        );
        assert_eq!(with_its_numbers(project.path(), &old), new);
        for (wrong, complaint) in [
            ("It took 3.98[way=swarm peers=1 seconds].", "the text says 3.98, the data 3.992"),
            ("It took 3.9[way=swarm peers=1 seconds].", "the text says 3.9, the data 3.992"),
            ("It took 3[way=swarm peers=1 seconds].", "the text says 3, the data 3.992"),
            ("It took four[way=swarm peers=1 seconds].", "no number stands directly before it"),
            (
                "It took 3.99 of our seconds[way=swarm peers=1 seconds].",
                "no number stands directly before it",
            ),
            ("It took 3.99\n[way=swarm peers=1 seconds] s.", "no number stands directly before it"),
            ("4.34[way=swarm peers=2 seconds]", "3 rows fit: say which, or `median`"),
            ("4.34[way=swarm peers=3 seconds]", "there is no such row"),
            ("4.34[way=swarm peers=2 middle seconds]", "middle: write median"),
            ("4.34[way=swarm peers=1 minutes]", "no column minutes, but way, peers, seconds, bound"),
            ("4.34[road=swarm seconds]", "no column road"),
            ("4.34[way=alone peers=2 seconds]", "seconds is no number, but \"\""),
            ("4.34[way=swarm peers=1 seconds*k]", "k is not a number"),
            ("4.34<!-- data: e.csv a=b c -->", "report/data/e.csv: "),
            ("4.34<!-- data: d.csv -->", "it names no column"),
            ("4.34<!-- data: -->", "it names no file"),
        ] {
            let complaints = check(wrong);
            assert!(complaints.len() == 1 && complaints[0].contains(complaint), "{wrong}\n{complaints:?}");
        }
    }

    #[test]
    fn a_state_in_a_picture_is_a_variant_or_a_field_and_no_variant_is_missing() {
        let project = project();
        let source = "enum Reach { Yes, No(String) }\nstruct Row { proven: bool }\nenum Other { A }\n";
        fs::write(project.path().join("src/a.rs"), source).unwrap();
        let state = |is: &str| format!("<rect class=\"state\"/><text{is}>a state</text>\n");
        let picture = |states: &[&str]| {
            let states: String = states.iter().map(|is| state(is)).collect();
            check_states(project.path(), &format!("<desc>States. From src/a.rs.</desc>\n{states}"))
        };
        let [yes, no, proven] =
            [" data-is=\"Reach::Yes\"", " data-is=\"Reach::No\"", " data-is=\"Row::proven\""];
        none(&picture(&[yes, no, proven]));
        assert_eq!(picture(&[yes, proven]), ["Reach::No of src/a.rs is not in the picture"]);
        assert_eq!(picture(&[proven, " data-is=\"Row::seen\""]), ["there is no Row::seen in src/a.rs"]);
        assert_eq!(picture(&[proven, ""]).len(), 1);
        assert_eq!(check_states(project.path(), "<desc>States.</desc>").len(), 1);
        assert_eq!(check_states(project.path(), "<desc>From src/b.rs.</desc>").len(), 1);
    }

    #[test]
    fn a_source_file_is_reached_by_a_link_an_excerpt_or_a_row() {
        let files = [
            "src/a.rs",
            "src/b.rs",
            "src/c.rs",
            "src/d.css",
            "src/tests.rs",
            "src/a/tests/x.rs",
            "src/e_tests.rs",
        ];
        let text = "[a](../src/a.rs#x)\n\n<!-- excerpt: src/b.rs B without docs -->\n\n\
                    | row | where |\n|---|---|\n| A1 | `src/c.rs` `C` |\n";
        let check =
            |text: &str| check_reached(&files.map(str::to_owned), &[("report/c.md".into(), text.to_owned())]);
        none(&check(&format!("{text}\n[d](../src/d.css)")));
        assert_eq!(check(text), ["no chapter leads to src/d.css"]);
        assert_eq!(check("`src/d.css`, src/a.rs, [c](../src)").len(), 4);
    }

    #[test]
    fn what_is_decided_is_in_a_table_and_what_is_not_is_in_none() {
        let source = "match facts {\n    _ if paused || failed => Leave,\n    (Unreadable, _) => Withdraw,\n    \
                      (Nothing { .. }, _) => LookAgain, // Not yet.\n}\nmatch x { Some(x) => x, }\n";
        let table = "| on the disk | offered | and | action |\n|---|---|---|---|\n| anything | | | leave (or not) |\n\
                     | a folder, a link | | | withdraw |\n| nothing | | | look again |\n";
        none(&check_decisions(source, table));
        assert_eq!(
            check_decisions(source, &table.replace("look again", "offer")),
            ["no row in chapters 7 and 8 is nothing: lookagain", "no arm of `decide` is nothing: offer"]
        );
    }

    #[test]
    fn words_are_counted_without_code_tables_and_comments() {
        let text = "# One `two`s\n\nthree\nfour <!-- no -->*five*.\n\n<!-- no -->\n```text\nno\n```\n\n| no |\n|---|\n| no |\n\n- six\n- seven\n";
        assert_eq!(prose(text).split_whitespace().count(), 7, "{}", prose(text));
        let long = |page: &str, words: usize| (PathBuf::from(format!("report/{page}")), "a ".repeat(words));
        none(&check_length(&[
            long("1-a.md", 12_000),
            long("10-b.md", 12_000),
            long("a-c.md", 9_000),
            long("lab.md", 13_917),
        ]));
        assert_eq!(
            check_length(&[long("1-a.md", 12_001), long("10-b.md", 12_000)]),
            ["the chapters have 24001 words, 24000 at most"]
        );
        assert_eq!(check_length(&[long("a-b.md", 9_001)]).len(), 1);
        let comments = (PathBuf::from("report/lab.md"), "a <!-- b c --> ".repeat(LENGTHS[2]));
        none(&check_length(&[comments]));
        assert_eq!(check_length(&[long("lab.md", 48_201)]), ["all pages have 48201 words, 48200 at most"]);
    }

    #[test]
    fn a_question_has_minutes_and_an_answer() {
        let chapter = "# 3. C\n\n1. none\n\n## Exercises\n\n1. Why? (10 min)\n   1. nested\n   2. too\n2. How `so` (in a class) (90 min)?\n\n## Notes\n\n1. none\n";
        let check = |chapter: &str, answers: &str| {
            let page = |name: &str, text: &str| (PathBuf::from(format!("report/{name}")), text.to_owned());
            check_questions(&[
                page("3-c.md", chapter),
                page("answers.md", answers),
                page("lab.md", "## Exercises\n\n1. No.\n"),
            ])
        };
        none(&check(chapter, "# Answers\n\n## 3.1\n\nSo.\n\n**3.2** So,\n3.7 times.\n"));
        none(&check(chapter, "### 3.1. Why\n\n- **3.2.** So.\n"));
        for (chapter, answers, complaint) in [
            (chapter, "## 3.1\n", "question 3.2 has no answer in report/answers.md"),
            (chapter, "## 3.1\n## 3.2\n## 3.3\n", "answer 3.3 has no question"),
            (
                &chapter.replace("(90 min)", "(min)"),
                "## 3.1\n## 3.2\n",
                "question 3.2 does not say its minutes",
            ),
            (
                &chapter.replace("(10 min)", "10 min)"),
                "## 3.1\n## 3.2\n",
                "question 3.1 does not say its minutes",
            ),
            (&chapter.replace("Exercises", "Questions"), "## 3.1\n", "question 3.2 has no answer"),
        ] {
            let complaints = check(chapter, answers);
            assert!(complaints.len() == 1 && complaints[0].starts_with(complaint), "{complaints:?}");
        }
        let many: String = (1..42).map(|n| format!("{n}. Why? (1 min)\n")).collect();
        let answers: String = (1..42).map(|n| format!("## 3.{n}\n")).collect();
        assert_eq!(
            check(&format!("## Exercises\n\n{many}"), &answers),
            ["there are 41 questions, 40 at most"]
        );
    }
}
