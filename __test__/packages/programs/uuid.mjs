import { NIL, parse, stringify, v4, v5, validate, version } from 'uuid';
console.log(v5('name', v5.URL), validate(v4()), version(v4()), stringify(parse('6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b')), NIL);
