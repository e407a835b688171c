//! Exercise 7: which peers have a file, and which has lost it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lab_runner::run;
use crate::net::key::Key;
use crate::share::Layout;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (1, "a file that nobody offers is not found", unknown),
            (2, "the requester is told of all others, and not of itself", others),
            (1, "where nobody else has it, it is not found: no empty list", nobody_else),
            (2, "one that has all of a file and asks for it, has lost it", lost),
            (1, "one that has a part stays on the list", part),
            (1, "one that says that it has it stays on the list", only_asks),
            (1, "a file without holders is no file", last_holder),
            (1, "whatever is asked, list and answers are right", anything),
        ],
    );
}

const PEERS: [&str; 4] = ["somebody that is not registered", "Ada", "Ben", "Cyd"];
const NOBODY: PeerId = 0;
const ADA: PeerId = 1;
const BEN: PeerId = 2;
const CYD: PeerId = 3;

/// A catalogue with files of these names, and those that can have them.
fn catalogue() -> (Catalogue, Roster) {
    let mut roster = Roster::new(Key::random());
    for id in [ADA, BEN, CYD] {
        let peer = format!(r#"{{"version":2,"name":"p{id}","addr":"127.0.0.1:{}","slots":0}}"#, 7000 + id);
        roster.admit(id, serde_json::from_str(&peer).unwrap(), 0);
    }
    (Catalogue::new(limits::DROPS), roster)
}

fn manifest(name: &str) -> Manifest {
    let bytes = name.as_bytes();
    Manifest::read(name.parse().unwrap(), Layout::of(bytes.len() as u64).unwrap(), bytes, &false.into()).unwrap()
}

/// A peer says that it has all of this file, or a part.
fn offers(catalogue: &mut Catalogue, roster: &Roster, peer: PeerId, name: &str, whole: bool) {
    catalogue.update(peer, &manifest(name), whole, None, roster, 1000).unwrap();
}

type Holders = Vec<(PeerId, bool)>;

/// Which peers have this file, as the list is now.
fn listed(catalogue: &Catalogue, name: &str) -> Holders {
    let listing = catalogue.named(&name.parse().unwrap());
    listing.map_or_else(Vec::new, |listing| {
        listing.holders.iter().map(|(&peer, &whole)| (peer, whole)).collect()
    })
}

/// "Ada (all of it), Ben (a part)"
fn named(holders: &Holders) -> String {
    let one = |&(peer, whole): &(PeerId, bool)| {
        format!("{} ({})", PEERS[peer as usize], if whole { "all of it" } else { "a part" })
    };
    if holders.is_empty() { "nobody".into() } else { holders.iter().map(one).collect::<Vec<_>>().join(", ") }
}

/// What `requester` is told: `None` for "not found"; and whether it is said to have lost the file. `story` begins a
/// sentence.
fn asks(
    catalogue: &mut Catalogue,
    requester: PeerId,
    name: &str,
    has: bool,
    story: &str,
) -> (Option<Holders>, bool) {
    let file = name.parse().unwrap();
    let before = listed(catalogue, name);
    let lookup = catch_unwind(AssertUnwindSafe(|| catalogue.query(requester, &file, has, 2000)));
    let Ok(Lookup { file, lost }) = lookup else {
        panic!(
            "{story}; {} asks for {name}, held by {}: `query` panicked. A number of a file is good only as long as the file is \
             listed: look it up again after `take_off`",
            PEERS[requester as usize],
            named(&before)
        );
    };
    if let Some((told, _)) = &file {
        assert!(
            told.id() == manifest(name).id(),
            "{story}; {} asks for {name}, and is told of another file",
            PEERS[requester as usize]
        );
    }
    (file.map(|(_, holders)| holders.into_iter().collect()), lost)
}

/// What is told of a file is to be this.
fn told(told: &Option<Holders>, right: &[(PeerId, bool)], story: &str) {
    let words = |told: &Option<Holders>| match told {
        None => "not found (None)".into(),
        Some(holders) if holders.is_empty() => "an empty list of holders".into(),
        Some(holders) => named(holders),
    };
    let right = (!right.is_empty()).then(|| right.to_vec());
    assert!(*told == right, "{story}. The answer is to be: {}. It is: {}", words(&right), words(told));
}

fn unknown(_: u64) {
    let (mut catalogue, roster) = catalogue();
    offers(&mut catalogue, &roster, ADA, "notes", true);
    for (requester, has) in [(BEN, false), (ADA, true), (ADA, false), (NOBODY, false)] {
        let (answer, lost) = asks(&mut catalogue, requester, "film", has, "Ada offers notes");
        told(&answer, &[], &format!("Ada offers notes; {} asks for film", PEERS[requester as usize]));
        assert!(
            !lost,
            "nobody ever offered film; {} asked for it, and is said to have lost it",
            PEERS[requester as usize]
        );
    }
    let list = listed(&catalogue, "notes");
    assert!(
        list == [(ADA, true)],
        "Ada offers notes, and others asked for film; now notes is held by {}",
        named(&list)
    );
}

fn others(_: u64) {
    let (mut catalogue, roster) = catalogue();
    offers(&mut catalogue, &roster, ADA, "notes", true);
    offers(&mut catalogue, &roster, BEN, "notes", false);
    offers(&mut catalogue, &roster, BEN, "film", true);
    for (requester, has, right) in [
        (CYD, false, &[(ADA, true), (BEN, false)][..]),
        (NOBODY, false, &[(ADA, true), (BEN, false)][..]),
        (BEN, false, &[(ADA, true)][..]),
        (ADA, true, &[(BEN, false)][..]),
    ] {
        let story = "Ada has all of notes, Ben a part";
        let (answer, _) = asks(&mut catalogue, requester, "notes", has, story);
        let has = if has { ", says that it has it," } else { "" };
        told(&answer, right, &format!("{story}; {}{has} asks for notes", PEERS[requester as usize]));
    }
}

fn nobody_else(_: u64) {
    let (mut catalogue, roster) = catalogue();
    offers(&mut catalogue, &roster, ADA, "notes", true);
    offers(&mut catalogue, &roster, BEN, "film", false);
    let (answer, _) = asks(&mut catalogue, ADA, "notes", true, "Only Ada has notes");
    told(&answer, &[], "Only Ada has notes; Ada, which says that it has it, asks for notes");
    let (answer, _) = asks(&mut catalogue, BEN, "film", false, "Only Ben has a part of film");
    told(&answer, &[], "Only Ben has a part of film; Ben asks for film");
}

fn lost(_: u64) {
    let (mut catalogue, roster) = catalogue();
    offers(&mut catalogue, &roster, ADA, "notes", true);
    offers(&mut catalogue, &roster, BEN, "notes", true);
    offers(&mut catalogue, &roster, ADA, "film", true);
    let story = "Ada and Ben have all of notes";
    let (answer, lost) = asks(&mut catalogue, ADA, "notes", false, story);
    let story = format!("{story}; Ada asks for notes, so Ada has lost it");
    told(&answer, &[(BEN, true)], &story);
    let list = listed(&catalogue, "notes");
    assert!(
        list == [(BEN, true)],
        "{story}. Held by Ben alone is what the list is to say; it says: held by {}",
        named(&list)
    );
    assert!(
        lost,
        "{story}. `lost` is to be true, and it is false: nobody would be told that a copy is missing"
    );
    let (answer, _) = asks(&mut catalogue, CYD, "notes", false, &story);
    told(&answer, &[(BEN, true)], &format!("{story}; then Cyd asks for notes"));
    let (_, again) = asks(&mut catalogue, ADA, "notes", false, &story);
    assert!(!again, "{story}; then Ada asks again. It can lose the file only once, but `lost` is true again");
    let list = listed(&catalogue, "film");
    assert!(
        list == [(ADA, true)],
        "{story}. It has film, too, and did not ask for it; now film is held by {}",
        named(&list)
    );
}

fn part(_: u64) {
    let (mut catalogue, roster) = catalogue();
    offers(&mut catalogue, &roster, ADA, "notes", true);
    offers(&mut catalogue, &roster, BEN, "notes", false);
    let story = "Ada has all of notes, Ben a part; Ben asks for notes, because it wants the rest";
    for _ in 0..2 {
        let (_, lost) = asks(&mut catalogue, BEN, "notes", false, story);
        let list = listed(&catalogue, "notes");
        assert!(
            list == [(ADA, true), (BEN, false)] && !lost,
            "{story}. Both are to stay on the list, and `lost` is to be false. Held by {}, and `lost` is {lost}: a download would \
             take its own peer off with its first question",
            named(&list)
        );
    }
}

fn only_asks(_: u64) {
    let (mut catalogue, roster) = catalogue();
    offers(&mut catalogue, &roster, ADA, "notes", true);
    offers(&mut catalogue, &roster, BEN, "notes", true);
    let story = "Ada and Ben have all of notes; Ada asks for notes and says that it has it (`has`), to repair a piece";
    let (_, lost) = asks(&mut catalogue, ADA, "notes", true, story);
    let list = listed(&catalogue, "notes");
    assert!(
        list == [(ADA, true), (BEN, true)] && !lost,
        "{story}. Both are to stay on the list, and `lost` is to be false. Held by {}, and `lost` is {lost}",
        named(&list)
    );
}

fn last_holder(_: u64) {
    let (mut catalogue, roster) = catalogue();
    offers(&mut catalogue, &roster, ADA, "notes", true);
    let story = "Only Ada has notes, and asks for it: so Ada has lost it";
    let (answer, lost) = asks(&mut catalogue, ADA, "notes", false, story);
    told(&answer, &[], story);
    assert!(lost, "{story}. `lost` is to be true, and it is false");
    let files = catalogue.files.len();
    assert!(
        files == 0,
        "{story}. Nobody has it now, and the catalogue still lists {files} file: a file without holders is no file"
    );
    let (answer, _) = asks(&mut catalogue, CYD, "notes", false, story);
    told(&answer, &[], &format!("{story}; then Cyd asks for notes"));
}

fn anything(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut catalogue, roster) = catalogue();
    let mut model = BTreeMap::<(&str, PeerId), bool>::new();
    for step in 0..2000 {
        let name = ["notes", "film", "song"][rng.random_range(0..3)];
        let peer = rng.random_range(0..4);
        let (whole, has) = (rng.random_bool(0.6), rng.random_bool(0.3));
        if peer != NOBODY && rng.random_bool(0.4) {
            offers(&mut catalogue, &roster, peer, name, whole);
            model.insert((name, peer), whole);
            continue;
        }
        let holders = |model: &BTreeMap<(&str, PeerId), bool>| -> Holders {
            model
                .iter()
                .filter(|((of, _), _)| *of == name)
                .map(|((_, peer), whole)| (*peer, *whole))
                .collect()
        };
        let before = named(&holders(&model));
        let says = if has { " and says that it has it" } else { "" };
        let story = format!(
            "Step {step} of seed {seed}: {name} is held by {before}; {} asks for it{says}",
            PEERS[peer as usize]
        );
        let right_lost = !has && model.get(&(name, peer)) == Some(&true);
        if right_lost {
            model.remove(&(name, peer));
        }
        let (answer, lost) = asks(&mut catalogue, peer, name, has, &format!("Step {step} of seed {seed}"));
        let others: Holders = holders(&model).into_iter().filter(|(holder, _)| *holder != peer).collect();
        told(&answer, &others, &story);
        assert!(lost == right_lost, "{story}. `lost` is to be {right_lost}, and it is {lost}");
        let list = listed(&catalogue, name);
        assert!(
            list == holders(&model),
            "{story}. After that it is to be held by {}, and the list says {}",
            named(&holders(&model)),
            named(&list)
        );
    }
}
