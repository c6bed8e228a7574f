import { addMonths, differenceInDays, format, formatDistance, parseISO, startOfWeek } from 'date-fns';
const date = parseISO('2024-01-31T10:20:30Z');
console.log(format(addMonths(date, 1), 'yyyy-MM-dd EEEE'), differenceInDays(date, parseISO('2023-12-25')));
console.log(formatDistance(date, parseISO('2024-03-01T00:00:00Z')), format(startOfWeek(date), 'PPPP'));
