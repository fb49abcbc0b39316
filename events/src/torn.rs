//! Tells a group that never reached the disk whole from one that did and was damaged since.
//!
//! Cutting the first is right: nobody was answered. Cutting the second would lose an acknowledged
//! commit without a word. A death of the process in the middle of a write leaves a file that ends
//! early, or reserved space that is blank from some byte on; a loss of power also leaves 512-byte
//! sectors that still read as zeros. Neither changes single bits. So, from the first frame that does
//! not check:
//!
//! - before the last chunk, or at a seq the witness has seen: damage;
//! - neither an early end (a frame's last byte is never zero) nor a blank sector: damage;
//! - a blank sector, but one flipped bit explains the checksum: damage; those zeros were payload;
//! - a later frame that still checks and knew this seq to be on disk: damage;
//! - everything to the end of the file blank: reserved space, nothing was lost;
//! - the rest is torn.

use std::ops::Range;

use crate::bytes::{Input, index};
use crate::error::{Fault, Trouble};
use crate::frame::{FrameHead, HEAD, decode};
use crate::store::Source;
use crate::{Place, Seq};

const SECTOR: u64 = 512;

/// What the end of a log turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Space reserved and not written.
    Blank,
    /// Never acknowledged: this many bytes can be cut.
    Torn(u64),
    /// Was on disk, and is no longer what it was.
    Damaged(Fault),
}

/// Judges what begins at `address`, where the commit of `seq` should stand.
pub(crate) fn judge(
    source: &dyn Source,
    address: u64,
    seq: Seq,
    witness: Seq,
    fault: Fault,
) -> Result<Verdict, Trouble> {
    if address < source.last_begins() {
        return Ok(Verdict::Damaged(fault));
    }
    let mut rest = vec![0; index(source.end() - address)];
    let filled = source.read_at(address, &mut rest)?;
    rest.truncate(filled);
    let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if seq <= witness {
        return Ok(Verdict::Damaged(if used == 0 { Fault::Blank } else { fault }));
    }
    if used == 0 {
        return Ok(Verdict::Blank);
    }
    let written = rest.get(..used).unwrap_or_default();
    if !may_be_torn(&rest, used, source.place(address), fault) || knows_as_synced(written, seq) {
        return Ok(Verdict::Damaged(fault));
    }
    Ok(Verdict::Torn(used as u64))
}

/// Whether a death or a loss of power explains what is in front of `rest`, blank from `used` on.
fn may_be_torn(rest: &[u8], used: usize, place: Place, fault: Fault) -> bool {
    let head = rest.first_chunk::<HEAD>();
    match fault {
        Fault::Ends => true,
        Fault::LengthCheck => {
            used < HEAD || head.is_some_and(|head| !one_bit_off(head) && has_blank_sector(head, place))
        }
        Fault::Crc { expected, found } => {
            let len = head.and_then(|head| FrameHead::parse(head).ok()).map(|head| head.len);
            let frame = len.and_then(|len| rest.get(..len));
            frame.is_some_and(|frame| {
                let flipped = || one_bit_explains(frame.len() - HEAD, expected ^ found);
                used < frame.len() || (has_blank_sector(frame, place) && !flipped())
            })
        }
        // The checksum agrees: these bytes were written as they are, by something that was wrong.
        Fault::Body { .. }
        | Fault::SeqGap { .. }
        | Fault::Chain { .. }
        | Fault::VersionGap { .. }
        | Fault::UnknownName { .. }
        | Fault::NameTwice
        | Fault::TimeBack
        | Fault::Blank => false,
    }
}

/// Whether the part of `frame` in some sector of the file is all zero.
fn has_blank_sector(frame: &[u8], place: Place) -> bool {
    sectors(place.offset, frame.len())
        .any(|part| frame.get(part).is_some_and(|part| part.iter().all(|byte| *byte == 0)))
}

/// The parts of `len` bytes at `offset` that lie in one sector each.
fn sectors(offset: u64, len: usize) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let inside = (offset + from as u64) % SECTOR;
        let to = len.min(from + index(SECTOR - inside));
        let part = from..to;
        from = to;
        (!part.is_empty()).then_some(part)
    })
}

/// Whether length and check would agree if one bit of them were another.
fn one_bit_off(head: &[u8; HEAD]) -> bool {
    let mut input = Input(head);
    let (Some(len), Some(check)) = (input.u32(), input.u32()) else { return false };
    let agrees = |len: u32| crc32c::crc32c(&len.to_le_bytes()) == check;
    let off = crc32c::crc32c(&len.to_le_bytes()) ^ check;
    off.is_power_of_two() || (0..32).any(|bit| agrees(len ^ (1 << bit)))
}

/// Whether one flipped bit, in `len` bytes or in their checksum, makes this difference of checksums.
///
/// A CRC is linear: each single bit makes its own difference, and walking from the last bit to the
/// first each difference is one shift from the one before.
fn one_bit_explains(len: usize, difference: u32) -> bool {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    if difference.is_power_of_two() {
        return true;
    }
    let mut single = POLYNOMIAL;
    for _ in 0..len.saturating_mul(8) {
        if single == difference {
            return true;
        }
        single = (single >> 1) ^ (POLYNOMIAL & (single & 1).wrapping_neg());
    }
    false
}

/// Whether a frame behind the front of `rest` says that `seq` was on disk when it was written.
fn knows_as_synced(rest: &[u8], seq: Seq) -> bool {
    (1..rest.len()).any(|at| {
        let Some(behind) = rest.get(at..) else { return false };
        let Some(head) = behind.first_chunk::<HEAD>() else { return false };
        let Ok(head) = FrameHead::parse(head) else { return false };
        let frame = behind.get(..head.len).and_then(|frame| decode(frame).ok());
        frame.is_some_and(|raw| raw.synced >= seq && raw.seq > seq)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_flipped_bit_is_recognised_and_a_blank_sector_is_not() {
        let body: Vec<u8> = (0_u16..900).map(|i| (i % 251).to_le_bytes()[0]).collect();
        let crc = crc32c::crc32c(&body);
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(one_bit_explains(body.len(), crc ^ crc32c::crc32c(&flipped)), "bit {bit}");
        }
        let mut blank = body.clone();
        blank[100..612].fill(0);
        assert!(!one_bit_explains(body.len(), crc ^ crc32c::crc32c(&blank)));
    }

    #[test]
    fn a_frame_is_divided_at_the_sectors_of_the_file() {
        let parts: Vec<_> = sectors(500, 600).collect();
        assert_eq!(parts, vec![0..12, 12..524, 524..600]);
    }
}
