//! Memory of V8's isolates that holds nothing, which V8 keeps touched.
//!
//! Each isolate has two tables for the frames of compiled code, of zeros until they are used and after each collection,
//! and stands at the start of a block that may be nearly twice as large. What the kernel gets back of it reads as zeros
//! when it is touched next, so nothing changes but what an isolate at rest holds: about 100 KiB less of 3.1 MiB.
//!
//! The tables are found by how `Isolate::Init` of our archive makes them, one after the other: another V8 keeps them.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use linux::{give_back, give_back_tail, note_block};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn give_back() {}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux {
    use std::cell::Cell;
    use std::ffi::c_void;
    use std::ops::Range;

    use crate::link_wrap::wrap;

    type Pointer = *mut c_void;

    /// Sizes of `InnerPointerToCodeCache` and `WasmCodeLookupCache`.
    const TABLES: [usize; 2] = [0x1_0008, 0xC000];
    /// Bytes of a page of the processor's.
    const PAGE: usize = 4096;

    thread_local! {
        /// The last two blocks of these sizes that this thread made.
        static LAST: Cell<[(usize, usize); 2]> = const { Cell::new([(0, 0); 2]) };
        /// The tables of this thread's isolate.
        static OWN: Cell<Option<[usize; 2]>> = const { Cell::new(None) };
    }

    /// Notes a block that C++'s `new` has made.
    ///
    /// # Safety
    /// The block was just made with that size.
    pub(crate) unsafe fn note_block(block: Pointer, size: usize) {
        if TABLES.contains(&size) && !block.is_null() {
            // SAFETY: nobody has used the block yet. V8 leaves what lies between the fields of an entry as it was.
            unsafe { block.cast::<u8>().write_bytes(0, size) };
            let [_, before] = LAST.get();
            LAST.set([before, (block as usize, size)]);
        }
    }

    wrap!(
        "_ZN2v88internal4wasm19WasmCodeLookupCache5FlushEv" => flush,
        fn real_flush(table: Pointer)
    );

    // Called for a table that was just made, among others.
    unsafe extern "C" fn flush(table: Pointer) {
        let [first, second] = LAST.take();
        if (first.1, second) == (TABLES[0], (table as usize, TABLES[1])) {
            OWN.set(Some([first.0, second.0]));
        }
        // SAFETY: V8's own call, passed on.
        unsafe { real_flush(table) }
    }

    /// The whole pages in a block.
    fn pages(block: Range<usize>) -> Range<usize> {
        block.start.next_multiple_of(PAGE)..block.end & !(PAGE - 1)
    }

    /// Gives back the pages of the tables of this thread's isolate that hold zeros. It must live and not be running code;
    /// only this thread uses its tables.
    pub(crate) fn give_back() {
        let Some(tables) = OWN.get() else {
            return;
        };
        for (table, size) in tables.into_iter().zip(TABLES) {
            for page in pages(table..table + size).step_by(PAGE) {
                // SAFETY: the table was initialised when it was made, and lives as long as the isolate.
                let words = unsafe {
                    std::slice::from_raw_parts(page as *const u64, PAGE / size_of::<u64>())
                };
                if words.iter().all(|word| *word == 0) {
                    // SAFETY: a whole page of anonymous memory; it holds zeros and reads as zeros afterwards.
                    unsafe { libc::madvise(page as Pointer, PAGE, libc::MADV_DONTNEED) };
                }
            }
        }
    }

    unsafe extern "C" {
        fn malloc_usable_size(block: Pointer) -> usize;
    }

    /// Gives back what an aligned block of the allocator has beyond what was asked for.
    ///
    /// # Safety
    /// The block was just made with that size and alignment.
    pub(crate) unsafe fn give_back_tail(block: Pointer, alignment: usize, size: usize) {
        // Where there can be little more it is not worth a system call.
        if alignment < PAGE || size < 16 * PAGE || block.is_null() {
            return;
        }
        // SAFETY: the block is the allocator's, and lives.
        let usable = unsafe { malloc_usable_size(block) };
        let start = block as usize;
        let mut tail = pages(start + size..start + usable);
        // What the allocator itself may keep at the end of a block stays.
        tail.end = tail.end.saturating_sub(PAGE);
        if !tail.is_empty() {
            // SAFETY: whole pages of anonymous memory in the block, of which nobody has used a byte.
            unsafe { libc::madvise(tail.start as Pointer, tail.len(), libc::MADV_DONTNEED) };
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn resident(pages: Range<usize>) -> usize {
            let mut states = vec![0_u8; pages.len() / PAGE];
            // SAFETY: `states` has a byte for each page.
            unsafe { libc::mincore(pages.start as Pointer, pages.len(), states.as_mut_ptr()) };
            states.iter().filter(|state| **state & 1 == 1).count()
        }

        #[test]
        fn an_isolate_works_without_its_empty_pages() {
            if !crate::link_wrap::is_linked() {
                return;
            }
            let (sender, counts) = std::sync::mpsc::channel();
            let run = move || {
                let mut isolate = v8::Isolate::new(v8::CreateParams::default());
                let tables = OWN.get().unwrap();
                let count = || {
                    let tables = tables.into_iter().zip(TABLES);
                    tables.map(|(table, size)| resident(pages(table..table + size)))
                };
                give_back();
                let after = count().sum::<usize>();
                v8::scope!(let scope, &mut isolate);
                let context = v8::Context::new(scope, v8::ContextOptions::default());
                let scope = &mut v8::ContextScope::new(scope, context);
                let code = "const f = (n) => (n < 2 ? n : f(n - 1) + f(n - 2)); f(22)";
                let code = v8::String::new(scope, code).unwrap();
                let script = v8::Script::compile(scope, code, None).unwrap();
                let value = script.run(scope).unwrap().uint32_value(scope);
                sender.send((after, value)).unwrap();
            };
            crate::engine::spawn("guest".to_owned(), 4 << 20, run).unwrap();
            let (after, value) = counts.recv().unwrap();
            // Of 26; an entry may have been used already.
            assert!(after <= 2, "{after}");
            assert_eq!(value, Some(17_711));
        }

        #[test]
        fn a_block_keeps_what_was_asked_for() {
            const SIZE: usize = 68_160;
            for _ in 0..8 {
                let mut block = std::ptr::null_mut();
                // SAFETY: the arguments are what POSIX asks for.
                let failure = unsafe { libc::posix_memalign(&raw mut block, PAGE, SIZE) };
                assert_eq!(failure, 0);
                // SAFETY: the block has that many bytes, and whatever it holds beyond them is nobody's.
                unsafe {
                    block.cast::<u8>().write_bytes(0xA5, SIZE);
                    give_back_tail(block, PAGE, SIZE);
                    let bytes = std::slice::from_raw_parts(block.cast::<u8>(), SIZE);
                    assert!(bytes.iter().all(|byte| *byte == 0xA5));
                    libc::free(block);
                }
            }
        }
    }
}
