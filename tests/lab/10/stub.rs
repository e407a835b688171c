//@ src/peer/replication/decide.rs
/// Exercise 10: what is done about one name.
///
/// Two wishes contradict each other: a file that is missing heals, and a file that was dropped stays away. [`Facts`]
/// has all that is known of one name at this moment, [`Action`] all that can be done. Say what is done. No file is ever
/// destroyed: the worst that may happen to it is the trash or another name.
///
/// - *Paused.* While the folder is paused, leave everything. But what was dropped is not given away any more: if all of
///   a file is offered and it was dropped, it is withdrawn. That touches no file.
/// - *Failed.* Otherwise, what has just failed is left.
/// - *Not there.* If all of a file is offered and it is not there, it is withdrawn, so that it heals. But a glance at
///   one name proves nothing, since a disk that is not mounted shows no file either: only a look at the whole folder
///   counts. Where the file was dropped, no proof is needed. In all other cases there is nothing to do.
/// - *Not readable.* It is withdrawn.
/// - *Somebody writes to it.* Look again later. If all of the former bytes are offered, they are offered for so long as
///   that lasts fewer than [`PATIENT_LOOKS`] looks and the file was not dropped; then it is withdrawn.
/// - *A part of a download is offered*, and bytes lie there: leave them. The download finds them in its way. But if
///   they are the very bytes that it fetches, and were not dropped, they are offered, and the download ends. (What the
///   manager has refused does not count here.)
/// - *Rotted.* Bytes that changed although nobody has written them are no edit. Except in a download's way they go to
///   the trash.
/// - *Edited.* Other bytes lie there than are offered. That is somebody's work, and later than all that was said of the
///   file, also where these bytes were dropped or refused: they replace the former. But while a program still writes to
///   a conflict copy, look again.
/// - *Dropped.* The bytes that lie there were dropped, or the manager refuses them as [`Code::Expired`], which means
///   the same: trash.
/// - *Found.* Bytes lie there and nothing is offered: they are offered. But if other bytes of this name are wanted,
///   these are in their way and are set aside.
/// - *Offered*, and still the same bytes: leave them. But if the manager refuses them with [`Code::Conflict`], it lists
///   other bytes under this name, and these are set aside.
pub(super) fn decide(facts: &Facts) -> Action {
    let Facts { on_disk, offered, dropped, rotted, refused, wanted, failed, unsteady_copy, paused } = *facts;
    let _ = (on_disk, offered, dropped, rotted, refused, wanted, failed, unsteady_copy, paused);
    todo!("decide is still empty")
}
