import * as prettier from 'prettier';
const source = 'const  a = {b:1,c:[1,2,3].map(x=>x*2)}\nexport default function( x ){ if(x) return   a; else { throw new Error("x") } }';
console.log(await prettier.format(source, { parser: 'babel', singleQuote: true }));
console.log(await prettier.format('interface A{a:string,b?:number}', { parser: 'typescript' }));
console.log(await prettier.format('a{color:red;b:c}', { parser: 'css' }));
console.log(await prettier.format('# a\n* b\n* c', { parser: 'markdown' }));
