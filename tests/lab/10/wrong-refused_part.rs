//# whatever the manager has refused
//@ src/peer/replication/decide.rs
/// What was refused as expired was dropped, also where a download fetches it.
pub(super) fn decide(facts: &Facts) -> Action {
    use Action::{Leave, LookAgain, Offer, Replace, SetAside, Trash, Withdraw};
    use OnDisk::{Bytes, Changing, Nothing, Unreadable};
    let Facts { on_disk, offered, dropped, rotted, refused, wanted, failed, unsteady_copy, paused } = *facts;
    let gone = dropped || refused == Some(Code::Expired);
    match (on_disk, offered) {
        (_, OnOffer::Whole(_)) if paused && dropped => Withdraw,
        _ if paused || failed => Leave,
        (Unreadable, _) => Withdraw,
        (Nothing { whole_look }, OnOffer::Whole(_)) if whole_look || dropped => Withdraw,
        (Nothing { .. }, _) => Leave,
        (Changing { looks }, OnOffer::Whole(_)) if looks >= PATIENT_LOOKS || dropped => Withdraw,
        (Changing { .. }, _) => LookAgain,
        (Bytes(id), OnOffer::Part(fetched)) if id == fetched && !gone => Offer,
        (Bytes(_), OnOffer::Part(_)) => Leave,
        (Bytes(_), _) if rotted => Trash,
        (Bytes(id), OnOffer::Whole(known)) if id != known && unsteady_copy => LookAgain,
        (Bytes(id), OnOffer::Whole(known)) if id != known => Replace,
        (Bytes(_), _) if gone => Trash,
        (Bytes(id), OnOffer::No) if wanted.is_some_and(|wanted| wanted != id) => SetAside,
        (Bytes(_), OnOffer::No) => Offer,
        (Bytes(_), OnOffer::Whole(_)) if refused == Some(Code::Conflict) => SetAside,
        (Bytes(_), OnOffer::Whole(_)) => Leave,
    }
}
