const _ = require('lodash');
console.log(_.chunk(_.range(7), 3), _.groupBy(['one', 'two', 'three'], 'length'), _.merge({ a: { b: 1 } }, { a: { c: 2 } }));
console.log(_.template('<%- name %> <% _.each(list, (x) => { %>[<%= x %>]<% }) %>')({ name: '<x>', list: [1, 2] }));
