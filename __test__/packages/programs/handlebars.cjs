const Handlebars = require('handlebars');
Handlebars.registerHelper('loud', (text) => text.toUpperCase());
const template = Handlebars.compile('{{#each people}}{{@index}}:{{loud name}}{{#if last}}<{{age}}>{{/if}} {{/each}}{{{raw}}}{{raw}}');
console.log(template({ people: [{ name: 'a' }, { name: 'b', last: true, age: 3 }], raw: '<b>' }));
