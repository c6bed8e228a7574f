/* SQLite is compiled without an operating system (SQLITE_OS_OTHER): what it asks for when it starts is done in Rust. */

#if defined(__GNUC__)
#define HIDDEN __attribute__((visibility("hidden")))
#else
#define HIDDEN
#endif

HIDDEN int sqlite3_os_init(void) { return 0; }
HIDDEN int sqlite3_os_end(void) { return 0; }

/* Called from Rust, so that the linker takes this object file before it comes to SQLite's. */
HIDDEN int secure_exec_sqlite_os(void) { return 1; }
