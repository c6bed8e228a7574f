const { Ajv } = require('ajv');
const ajv = new Ajv({ allErrors: true });
const validate = ajv.compile({
  type: 'object',
  properties: { id: { type: 'integer', minimum: 1 }, tags: { type: 'array', items: { type: 'string' }, uniqueItems: true } },
  required: ['id'],
  additionalProperties: false,
});
console.log(validate({ id: 1, tags: ['a'] }), validate({ id: 0, tags: ['a', 'a'], x: 1 }));
console.log(ajv.errorsText(validate.errors));
