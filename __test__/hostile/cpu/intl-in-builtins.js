// Constructors of Intl called by a builtin, for hundreds of locales: a thread that is stopped there must not be the one that
// all others wait for.
// @outcome cpu | memory
// @options {"memoryLimit": 64, "cpuTimeLimitMs": 60}
// @each every(Intl.Collator)
// @each every(Intl.DateTimeFormat)
// @each every(Intl.NumberFormat)
const languages = 'af am ar az be bg bn bs ca cs cy da de el es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko lo lt lv mk ml mn mr ms my nb ne nl or pa pl pt ro ru si sk sl sq sr sv sw ta te th tr uk ur uz vi zh zu'.split(' ');
let locales = 'US DE FR ES IN CN BR JP KR GB IT RU MX CA AU ZA'.split(' ').flatMap((region) => languages.map((language) => `${language}-${region}`));
for (let i = 0; i < 6; i++) locales = locales.concat(locales);
locales.EACH;
