// assert() that tells the host what did not hold.
#undef assert
#ifdef NDEBUG
#define assert(holds) ((void)0)
#else
_Noreturn void sawpit_panic(const char *why);
#define SAWPIT_TEXT(line) #line
#define SAWPIT_LINE(line) SAWPIT_TEXT(line)
#define assert(holds) ((holds) ? (void)0 : sawpit_panic(__FILE__ ":" SAWPIT_LINE(__LINE__) ": assertion failed: " #holds))
#endif
